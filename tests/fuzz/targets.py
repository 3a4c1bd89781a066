"""All readers of bytes that others made, and the errors that they may raise."""

from __future__ import annotations

from click import ClickException

from pytest_aprqa.engines.errors import EngineError
from pytest_aprqa.evidence.errors import EvidenceError
from pytest_aprqa.formats.errors import LocatedError
from pytest_aprqa.layout_contract import ContractError
from pytest_aprqa.playbooks.errors import PlaybookError
from pytest_aprqa.registry.errors import RegistryError
from pytest_aprqa.reporting.certificate import CertificateError
from pytest_aprqa.suite.golden_corpus import CorpusError
from pytest_aprqa.suite.speed_profile import BaselineError
from pytest_aprqa.suite.tensor_fingerprints import FingerprintError
from tests.fuzz.document_targets import DOCUMENT_TARGETS
from tests.fuzz.engine_targets import ENGINE_TARGETS
from tests.fuzz.model_targets import MODEL_TARGETS
from tests.fuzz.record_targets import RECORD_TARGETS
from tests.fuzz.target import Target

TYPED = (
    LocatedError, PlaybookError, EvidenceError, CertificateError, RegistryError, BaselineError, FingerprintError,
    CorpusError, ContractError, EngineError, ClickException,
)  # fmt: skip
TARGETS: dict[str, Target] = {**ENGINE_TARGETS, **RECORD_TARGETS, **DOCUMENT_TARGETS, **MODEL_TARGETS}
