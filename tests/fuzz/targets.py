"""All readers under fuzzing, and the errors that they may raise."""

from __future__ import annotations

from pytest_aprqa.evidence.errors import EvidenceError
from pytest_aprqa.formats.errors import LocatedError
from pytest_aprqa.playbooks.errors import PlaybookError
from tests.fuzz.document_targets import DOCUMENT_TARGETS
from tests.fuzz.model_targets import MODEL_TARGETS
from tests.fuzz.target import Target

TYPED = (LocatedError, PlaybookError, EvidenceError)
TARGETS: dict[str, Target] = {**DOCUMENT_TARGETS, **MODEL_TARGETS}
