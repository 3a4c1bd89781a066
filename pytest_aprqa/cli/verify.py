"""`aprqa verify CERTIFICATE`: does it say what its evidence and the files here say, and does it hold when run again?"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence
    from pytest_aprqa.reporting.certificate_comparison import Check

COLOURS = {"passed": "green", "failed": "red", "not checked": "yellow"}


@click.command()
@click.argument("certificate", type=click.Path(exists=True, path_type=Path))
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--evidence", type=click.Path(exists=True, path_type=Path), help="evidence.json; default: beside the certificate."
)
@click.option("--model-path", type=click.Path(exists=True, path_type=Path), help="Folder or file of the model.")
@click.option(
    "--replay", type=click.IntRange(0), default=0, show_default=True, metavar="N", help="Run N scenarios again."
)
@click.option(
    "--public-key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="PEM key of who signed it."
)
@click.option(
    "--signature", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Default: CERTIFICATE.sig."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of text.")
def command(
    certificate: Path,
    pytest_arguments: tuple[str, ...],
    evidence: Path | None,
    model_path: Path | None,
    replay: int,
    public_key: Path | None,
    signature: Path | None,
    as_json: bool,
) -> int:
    """Verify CERTIFICATE (certificate.json, or the folder of its run): evidence, score, files, time, signature.

    The digest of evidence.json and of the model's files is computed again, the evidence is scored again, and with
    --replay a sample of its scenarios is run again through pytest (arguments after `--` are given to it).
    What was not checked is named before the verdict, the scenarios too where --replay did not ask for them.
    Exit code 0 when nothing was refuted; 1 when a check failed, or the certificate cannot be read.
    Example: aprqa verify evidence/latest --replay 3
    """
    from pytest_aprqa.reporting.certificate import read_certificate

    path = certificate / "certificate.json" if certificate.is_dir() else certificate
    content = read_certificate(path)
    array = evidence or path.parent / "evidence.json"
    checks = _signature_checks(path, public_key, signature) + _checks(content, array, model_path)
    checks += _replayed(content, array, model_path, replay, pytest_arguments)
    refuted = [check for check in checks if check.state == "failed"]
    if as_json:
        facts = {"certificate": str(path), "verified": not refuted, "status": content["status"]}
        facts["not_checked"] = [check.name for check in checks if check.state == "not checked"]
        click.echo(json.dumps(facts | {"checks": [dataclasses.asdict(one) for one in checks]}, indent=2))
    else:
        _print(content, checks, len(refuted))
    return int(bool(refuted))


def _signature_checks(path: Path, public_key: Path | None, signature: Path | None) -> list[Check]:
    from pytest_aprqa.reporting.certificate_comparison import FAILED, NOT_CHECKED, PASSED, Check
    from pytest_aprqa.signing import SigningError, signature_of, verify_file

    if public_key is None:
        if signature is not None:
            raise click.UsageError("--signature needs --public-key, the key of who signed")
        there = signature_of(path).is_file()
        return [Check("signature", NOT_CHECKED, "there is one: name the key with --public-key")] if there else []
    try:
        verify_file(path, public_key, signature)
    except SigningError as error:
        return [Check("signature", FAILED, str(error))]
    return [Check("signature", PASSED, f"signed by the owner of {public_key.name}")]


def _checks(content: dict[str, Any], array: Path, model_path: Path | None) -> list[Check]:
    from pytest_aprqa.certificate_artifacts import check_artifacts, check_playbooks
    from pytest_aprqa.cli.progress_bar import working
    from pytest_aprqa.reporting import certificate_comparison as comparison

    with working("hashing the evidence"):
        checks = [comparison.check_evidence_file(content, array)]
    if array.is_file():
        entries = _entries(array)
        log = array.with_name("evidence.jsonl")
        checks.append(comparison.check_log(entries, _entries(log) if log.is_file() else None))
        with working("scoring"):
            checks += comparison.check_score(content, entries)
        with working("hashing the files of the model"):
            checks += check_artifacts(content, entries, model_path)
    checks += check_playbooks(content, _roots(array))[0]
    return [*checks, comparison.check_expiry(content)]


def _replayed(
    content: dict[str, Any], array: Path, model_path: Path | None, count: int, arguments: tuple[str, ...]
) -> list[Check]:
    from pytest_aprqa.certificate_artifacts import check_playbooks
    from pytest_aprqa.certificate_replay import replay, sample
    from pytest_aprqa.cli.progress_bar import working
    from pytest_aprqa.reporting.certificate_comparison import NOT_CHECKED, Check

    if not count:
        return [Check("replay", NOT_CHECKED, "no scenario was run again; ask with --replay N")]
    if not array.is_file():
        return [Check("replay", NOT_CHECKED, "there is no evidence to take scenarios from")]
    _, playbooks = check_playbooks(content, _roots(array))
    chosen = sample(_entries(array), count, str(content["evidence_hash"]))
    where = model_path.resolve() if model_path is not None else None
    with working(f"running {len(chosen)} scenarios again"):
        return replay(chosen, playbooks, where, arguments)


def _entries(path: Path) -> list[Evidence]:
    from pytest_aprqa.cli.evidence_input import read_evidence

    return read_evidence(path).entries


def _roots(array: Path) -> list[Path]:
    return [Path.cwd(), array.resolve().parent]


def _print(content: dict[str, Any], checks: list[Check], refuted: int) -> None:
    from pytest_aprqa.reporting.hostile_text import for_terminal

    for check in checks:
        click.secho(f"{check.state:<12}", fg=COLOURS[check.state], nl=False)
        click.echo(f"{for_terminal(check.name)}: {for_terminal(check.detail)}")
    if left_out := [check for check in checks if check.state == "not checked"]:
        hint = "ask with --replay N"
        named = (f"{check.name} ({hint})" if check.detail.endswith(hint) else check.name for check in left_out)
        click.secho(f"not checked: {for_terminal(', '.join(named))}", fg="yellow")
    verdict = f"{content['status']}, {content['mqs_score']}/1000, {content['grade']} of {content['model_id']}"
    if refuted:
        click.secho(f"NOT VERIFIED: {refuted} of {len(checks)} checks failed", fg="red", bold=True)
    else:
        click.secho(f"VERIFIED: {for_terminal(verdict)}", fg="green", bold=True)
