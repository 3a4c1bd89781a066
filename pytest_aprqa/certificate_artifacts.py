"""Are the files here those that a certificate is about? Weight files are digested again, playbooks too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_aprqa.reporting.certificate_comparison import FAILED, NOT_CHECKED, PASSED, Check

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

DERIVED = "derived"


def check_artifacts(content: dict[str, Any], evidence: Sequence[Evidence], model_path: Path | None) -> list[Check]:
    """One check a file. A derived file that is not here is not checked: its source decides what it holds.

    Fails when a file has another digest, and when no file at all could be digested.
    """
    recorded = {str(e.artifact["sha256"]): Path(str(e.artifact.get("path"))) for e in evidence if e.artifact}
    checks = [_check_one(artifact, recorded.get(artifact["sha256"]), model_path) for artifact in content["artifacts"]]
    if not any(check.state == PASSED for check in checks) and not any(check.state == FAILED for check in checks):
        checks.append(Check("artifacts", FAILED, "no file of the model was found here: name its folder: --model-path"))
    return checks + _check_declarations(content, evidence, model_path)


def _check_declarations(content: dict[str, Any], evidence: Sequence[Evidence], model_path: Path | None) -> list[Check]:
    """Configuration, tokenizer and template beside the SafeTensors weights; older certificates say nothing of them."""
    from pytest_aprqa.declared_files import declarations_digest
    from pytest_aprqa.models.location import find_artifact_file

    claimed = content.get("declarations", [])
    places = {Path(str(e.artifact.get("path"))) for e in evidence if e.artifact and _is_source(e.artifact)}
    if model_path is not None:
        found = find_artifact_file(model_path, "safetensors")
        places = {found} if found is not None else set()
    places = {path for path in places if path.exists()}
    if not claimed or not places:
        return [Check("declarations", NOT_CHECKED, "no SafeTensors model is here to compare")] if claimed else []
    checks = []
    for path in sorted(places):
        digest = declarations_digest(path)
        folder = path if path.is_dir() else path.parent
        told = f"{folder}: configuration, tokenizer and template have SHA-256 {digest}"
        if digest in claimed:
            checks.append(Check("declarations", PASSED, told))
        else:
            checks.append(Check("declarations", FAILED, f"{told}, the certificate says {', '.join(claimed)}"))
    return checks


def _is_source(artifact: Mapping[str, Any]) -> bool:
    return artifact.get("format") == "safetensors" and artifact.get("origin") != DERIVED


def _check_one(artifact: dict[str, Any], recorded: Path | None, model_path: Path | None) -> Check:
    from pytest_aprqa.models.artifact import describe_artifact
    from pytest_aprqa.models.errors import ModelError

    name = f"artifact: {artifact['format']}"
    path = _place_of(artifact, recorded, model_path)
    if path is None:
        if artifact["origin"] == DERIVED:
            return Check(name, NOT_CHECKED, f"{artifact['file']} was derived, and is not here")
        where = f"in {model_path}" if model_path is not None else f"at {recorded}"
        return Check(name, FAILED, f"{artifact['file']}: no such file {where}; name the folder with --model-path")
    try:
        found = describe_artifact(path, artifact["format"]).sha256
    except (ModelError, OSError) as error:
        return Check(name, FAILED, str(error))
    if found != artifact["sha256"]:
        return Check(name, FAILED, f"{path}: SHA-256 {found}, the certificate says {artifact['sha256']}")
    return Check(name, PASSED, f"{path.name} has SHA-256 {found}")


def _place_of(artifact: dict[str, Any], recorded: Path | None, model_path: Path | None) -> Path | None:
    """The file to digest: of --model-path where the model was published there, else where the run found it."""
    from pytest_aprqa.models.location import EXTENSIONS, find_artifact_file

    if model_path is not None and artifact["origin"] != DERIVED and artifact["format"] in EXTENSIONS:
        return find_artifact_file(model_path, artifact["format"])
    return recorded if recorded is not None and recorded.exists() else None


def check_playbooks(content: dict[str, Any], roots: Sequence[Path]) -> tuple[list[Check], dict[str, Path]]:
    """The playbooks of the certificate, where they are here: one check each, and the paths of those that agree."""
    from pytest_aprqa.playbooks.errors import PlaybookError
    from pytest_aprqa.playbooks.lock import digest
    from pytest_aprqa.playbooks.lookup import find_playbook

    checks, paths = [], {}
    for playbook in content["playbooks"]:
        name, claimed = str(playbook["name"]), playbook["sha256"]
        try:
            path = find_playbook(name, roots)
            found = digest(path)
        except PlaybookError:
            checks.append(Check(f"playbook: {name}", NOT_CHECKED, "no playbook of this name here"))
            continue
        if found != claimed:
            checks.append(
                Check(f"playbook: {name}", FAILED, f"{path}: SHA-256 {found}, the certificate says {claimed}")
            )
            continue
        paths[name] = path
        checks.append(Check(f"playbook: {name}", PASSED, f"{path.name} has SHA-256 {found}"))
    return checks, paths
