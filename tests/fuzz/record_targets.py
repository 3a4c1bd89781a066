"""What a run leaves behind and others send: evidence, certificates, kill matrices, registries, recorded answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_aprqa.cli.evidence_input import read_evidence
from pytest_aprqa.evidence.log import read_json, read_log
from pytest_aprqa.evidence.record import Evidence
from pytest_aprqa.models.provenance import PROVENANCE_FILE, read_provenance
from pytest_aprqa.registry.readme_table import with_table
from pytest_aprqa.registry.row import COLUMNS
from pytest_aprqa.registry.table import read_registry
from pytest_aprqa.reporting.certificate import certificate, certificate_text, read_certificate
from pytest_aprqa.reporting.html.page import _kills, report_html
from pytest_aprqa.reporting.kill_matrix import matrix_document
from pytest_aprqa.reporting.report_files import KILL_MATRIX, _kill_matrix
from pytest_aprqa.scoring.score import score
from pytest_aprqa.suite.golden_corpus import Golden, open_corpus, write_corpus
from pytest_aprqa.suite.speed_profile import read_baseline
from pytest_aprqa.suite.tensor_fingerprints import read_fingerprints
from tests.fuzz import mutations
from tests.fuzz.target import Seeds, Target
from tests.reporting.attempt_factory import attempt

_README = "<!-- CERTIFICATION_TABLE_START -->\n<!-- CERTIFICATION_TABLE_END -->\n"


def documents(*values: Any) -> Callable[[], Seeds]:
    """JSON documents as seeds."""

    def seeds() -> Seeds:
        texts = [json.dumps(value, indent=1).encode() for value in values]
        return {f"document {number}": (text, mutations.json_text(text)) for number, text in enumerate(texts)}

    return seeds


def _entries() -> list[dict[str, Any]]:
    kinds = ("Corroborated", "Falsified", "Timeout")
    return [attempt(kind, gate_id=f"F-A-00{n}").to_dict() | {"id": str(n)} for n, kind in enumerate(kinds)]


def _log_seeds() -> Seeds:
    log = b"".join(json.dumps(entry).encode() + b"\n" for entry in _entries())
    return {"log": (log, mutations.json_lines(log))}


def _read_log(path: Path) -> None:
    for entry in read_log(path):
        assert entry.gate_id is not None


def _read_array(path: Path) -> None:
    for entry in read_json(path):
        assert entry.gate_id is not None


def _read_evidence(path: Path) -> None:
    read_evidence(path)


def _certificate_seeds() -> Seeds:
    entries = [Evidence.from_dict(values) for values in _entries()]
    text = certificate_text(certificate(entries, score(entries, model_id="example/Tiny-1B"), "0" * 64)).encode()
    return {"certificate": (text, mutations.json_text(text))}


def _read_certificate(path: Path) -> None:
    read_certificate(path)


def _matrix() -> dict[str, Any]:
    defect = {"name": "d", "kind": "defect", "verdict": "killed", "killed_by": "F-X-001", "cause": "c", "origin": "o"}
    also = {"also": [{"gate": "F-X-002", "cause": "k"}]}
    clean = {"name": "m", "kind": "clean", "verdict": "rejected", "reason": "r"}
    gates = [{"gate": gate, "check": "test_x", "group": "g", "title": "t"} for gate in ("F-X-001", "F-X-002")]
    return matrix_document([defect, defect | also | {"name": "e"}, clean], gates)


def _report_with_matrix(path: Path) -> None:
    report_html([attempt()], None, _kill_matrix(path.parent))


def _read_matrix(path: Path) -> None:
    _kills(_kill_matrix(path.parent))


def _registry_seeds() -> Seeds:
    row = dict.fromkeys(COLUMNS, "") | {"model_id": "a/b-1B", "family": "llama", "status": "CERTIFIED"}
    lines = [",".join(COLUMNS), ",".join(row.values()), ",".join((row | {"model_id": '"a/c ""d"""'}).values())]
    return {"registry": ("\n".join(lines).encode() + b"\n", mutations.table)}


def _read_registry(path: Path) -> None:
    registry = read_registry(path)
    assert registry.text()
    with_table(_README, registry.rows.values(), "2026-01-02 03:04", path)


def _baseline() -> dict[str, Any]:
    entry = {"samples": [3.5, 4.0, 3], "engine": {"name": "torch"}, "machine": "m"}
    return {"version": 1, "speeds": {"gguf-cpu": entry, "apr-cpu": entry}}


def _read_baseline(path: Path) -> None:
    read_baseline(path)


def _fingerprints() -> dict[str, Any]:
    numbers = {"mean": 0.5, "std": 1, "min": -1, "max": 1.5, "nan_count": 0, "inf_count": 0, "zero_fraction": 0.0}
    return {
        "fingerprints": [{"name": name, "shape": [2, 3], "dtype": "F32", "checksum": "", **numbers} for name in "ab"]
    }


def _read_fingerprints(path: Path) -> None:
    read_fingerprints(path)


def _golden(folder: Path) -> None:
    import numpy as np

    write_corpus(folder, [Golden("2+2=", [1, 2], [1], "4", np.eye(1, 4, 1, dtype=np.float32))], {"model": "a/b"})


def _golden_seeds() -> Seeds:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        _golden(Path(folder) / "c")
        text = (Path(folder) / "c" / "manifest.json").read_bytes()
    return {"manifest": (text, mutations.json_text(text))}


def _read_golden(path: Path) -> None:
    for golden in open_corpus(path.parent):
        assert golden.logits.size


def _read_provenance(path: Path) -> None:
    read_provenance(path.parent)


_PROVENANCE = {
    "source": {"format": "safetensors", "path": "m/model.safetensors", "sha256": "0" * 64, "hf_repo": "a/b"},
    "derived": [{"format": "gguf", "path": "m.gguf", "sha256": "1" * 64, "converter": "aprqa 1", "quantization": None}],
}

RECORD_TARGETS = {
    "evidence": Target("evidence.jsonl", _log_seeds, _read_evidence, parser=_read_log),
    "array": Target("evidence.json", documents(_entries(), {"evidence": _entries()}), _read_evidence,
                    parser=_read_array),
    "certificate": Target("certificate.json", _certificate_seeds, _read_certificate),
    "matrix": Target(KILL_MATRIX, documents(_matrix()), _report_with_matrix, parser=_read_matrix, whole_every=100,
                     refuses=False),
    "registry": Target("models.csv", _registry_seeds, _read_registry),
    "baseline": Target("baseline.json", documents(_baseline()), _read_baseline),
    "fingerprints": Target("fingerprints.json", documents(_fingerprints()), _read_fingerprints),
    "golden": Target("manifest.json", _golden_seeds, _read_golden, _golden),
    "provenance": Target(PROVENANCE_FILE, documents(_PROVENANCE), _read_provenance),
}  # fmt: skip
