"""`aprqa certify`: run the playbooks of many models one after the other and write what came out into the registry."""

from __future__ import annotations

import contextlib
import datetime
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytest_aprqa.cli.certification_lines import Say, say_head, say_plan, say_result, say_summary, speaker

if TYPE_CHECKING:
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.playbooks.tiers import Tier
    from pytest_aprqa.registry.table import Registry

DEFAULT_REGISTRY = Path("docs/certifications/models.csv")
DEFAULT_OUTPUT = Path("certifications")
USAGE_EXIT, NO_TESTS_EXIT = 4, 5  # of pytest
NOT_RUN = "NOT RUN"


@dataclass(slots=True)
class Certification:
    """What became of one model. `status` is the registry's word, or NOT RUN with the reason."""

    model_id: str
    playbook: str | None = None
    status: str = NOT_RUN
    tier: str = ""
    score: int | None = None
    grade: str | None = None
    tier_met: bool = False
    reason: str | None = None
    evidence: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    signature: str | None = None
    warning: str | None = None


@click.command()
@click.argument("models", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All models of the registry.")
@click.option(
    "--family", help="All models of a family of the registry; a beginning that fits some families takes them."
)
@click.option("--tier", default="quick", show_default=True, help="smoke, mvp, quick, standard or deep.")
@click.option(
    "--registry", type=click.Path(dir_okay=False, path_type=Path), default=DEFAULT_REGISTRY, show_default=True
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_OUTPUT,
    show_default=True,
    help="Evidence goes to OUTPUT/SHORT-NAME.",
)
@click.option(
    "--playbooks",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the playbooks; default: ./playbooks, then the packaged ones.",
)
@click.option(
    "--model-cache", type=click.Path(file_okay=False, path_type=Path), help="Where models are looked for first."
)
@click.option(
    "--model", "model_path", type=click.Path(exists=True, path_type=Path), help="Where the one model that is named is."
)
@click.option("--apr-binary", metavar="PROGRAM", help="The `apr` program that runs APR artifacts.")
@click.option("--auto-ticket", is_flag=True, help="A ticket for each cause of failure in OUTPUT/SHORT-NAME/tickets.")
@click.option("--ticket-repo", metavar="OWNER/REPOSITORY", default="OWNER/REPOSITORY", help="Where they belong.")
@click.option(
    "--oracle-enhance", is_flag=True, help="Write OUTPUT/SHORT-NAME/checklist.md: what to look at after a failure."
)
@click.option(
    "--workers", type=click.IntRange(min=0), default=0, help="pytest-xdist workers of each run, as far as they fit."
)
@click.option("--timeout", type=click.IntRange(min=1), help="Limit of one scenario in ms.")
@click.option("--no-gpu", is_flag=True, help="Leave the gpu cells out.")
@click.option("--failure-policy", help="stop-on-first, stop-on-p0, collect-all or fail-fast; default: the playbook's.")
@click.option("--fail-fast", is_flag=True, help="Stop after the first model that is not certified.")
@click.option("--no-integrity-check", is_flag=True, help="Run playbooks that are not in the lock file, or changed.")
@click.option(
    "--no-speeds", is_flag=True, help="Leave the speeds in the registry out: this machine does other work meanwhile."
)
@click.option(
    "--sign",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="KEY",
    help="Sign each certificate with this private key (PEM, elliptic curve; extra `sign`).",
)
@click.option("--dry-run", is_flag=True, help="Say what would be run; touch nothing.")
@click.option(
    "--json", "as_json", is_flag=True, help="The summary as JSON on standard output; progress on standard error."
)
def command(
    models: tuple[str, ...],
    everything: bool,
    family: str | None,
    tier: str,
    registry: Path,
    as_json: bool,
    dry_run: bool,
    **options: Any,
) -> int:
    """Certify MODELS (ORG/NAME), a family, or all models of the registry.

    A model that is missing, whose playbook is missing, changed or broken, is counted as not run, and the others go on;
    its row of the registry stays as it was. Exit code 0 when every model met its tier, else 1.
    Example: aprqa certify --family qwen-coder --tier smoke --model-cache ~/models
    Example: aprqa certify aprqa/tiny-qwen2 --tier mvp --dry-run
    """
    from pytest_aprqa.playbooks.tiers import parse_tier
    from pytest_aprqa.registry.table import read_registry

    try:
        wanted_tier = parse_tier(tier)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if options["model_path"] is not None and len(models) != 1:
        raise click.UsageError("--model is the place of one model: name that model, ORG/NAME")
    if options["sign"] is not None:
        from pytest_aprqa.signing import check_key

        check_key(options["sign"])
    table = read_registry(registry) if everything or family or registry.is_file() else None
    chosen = _chosen(models, table, everything=everything, family=family, registry=registry)
    say = speaker(to_stderr=as_json)
    say_head(say, wanted_tier.name, len(chosen), options, dry_run=dry_run)
    results = []
    for result in _certify_each(chosen, wanted_tier, registry, say, dry_run=dry_run, **options):
        results.append(result)
        if options["fail_fast"] and not dry_run and not result.tier_met:
            say(f"[FAIL-FAST] Stopping certification after {result.model_id} (had failures)", fg="red")
            break
    if any(result.score is not None for result in results):
        say(f"Updated: {registry}")
    say_summary(say, results, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps([asdict(result) for result in results], indent=2))
    return int(not dry_run and not all(result.tier_met for result in results))


def _chosen(
    models: Sequence[str], table: Registry | None, *, everything: bool, family: str | None, registry: Path
) -> list[str]:
    """Model ids in the order of the registry, or as given."""
    if models:
        if everything or family:
            raise click.UsageError("name models, or --family, or --all: not more than one of them")
        for model in models:
            if model.count("/") != 1 or not all(model.split("/")):
                raise click.UsageError(f"{model!r} is not a model id, ORG/NAME")
        return list(dict.fromkeys(models))
    if table is None or not (everything or family):
        raise click.UsageError("Specify --all, --family, or model IDs")
    if everything:
        return list(table.rows)
    families = list(dict.fromkeys(row["family"] for row in table.rows.values()))
    fitting = [family] if family in families else [name for name in families if name.startswith(str(family))]
    if not fitting:
        raise click.ClickException(
            f"{registry}: no family {family!r}; there are {', '.join(sorted(families)) or 'none'}"
        )
    if fitting != [family]:
        click.echo(f"no family is called {family}; taken: {', '.join(fitting)}", err=True)
    return [model_id for model_id, row in table.rows.items() if row["family"] in fitting]


def _certify_each(
    chosen: Sequence[str],
    tier: Tier,
    registry: Path,
    say: Say,
    *,
    dry_run: bool,
    playbooks: Path | None,
    no_integrity_check: bool,
    output: Path,
    **options: Any,
) -> Iterator[Certification]:
    from pytest_aprqa.cli.certification_plan import FAILED, Planner
    from pytest_aprqa.models.bundled import bundled_folder

    roots = [playbooks] if playbooks else [Path("playbooks"), bundled_folder() / "playbooks"]
    planner = Planner(roots, tier, check_locks=not no_integrity_check, no_gpu=options["no_gpu"])
    if (places := planner.missing_locks(chosen)) is not None:
        say(f"[WARN] No playbook lock file found at {places}: playbooks are run as they are", fg="yellow")
    for model_id in chosen:
        plan = planner.plan(model_id)
        result = Certification(
            model_id, str(plan.path) if plan.path else None, tier=tier.name, reason=plan.reason, warning=plan.warning
        )
        folder = _folder_of(model_id, output)
        if dry_run:
            say_plan(say, result, folder / "certificate.json", options["sign"])
            yield result
            continue
        say(f"\n--- Certifying: {model_id} ---", bold=True)
        if plan.path is not None:
            say(f"  Playbook: {plan.path}\n  Integrity: {plan.integrity}")
        if result.warning:
            say(f"  [WARN] {result.warning}", fg="yellow")
        if result.reason:
            prefix = "[INTEGRITY] " if plan.integrity == FAILED else ""
            say(f"  {prefix}Not run: {result.reason}", fg="red")
        else:
            _run(result, plan.playbook, tier, registry, folder, say, no_lock=no_integrity_check, **options)
        yield result


def _short(model_id: str) -> str:
    """`Qwen/Qwen2.5-Coder-1.5B-Instruct` -> `qwen2-5-coder-1-5b-instruct` (cli.md 1.1)."""
    return model_id.rpartition("/")[2].lower().replace(".", "-")


def _folder_of(model_id: str, output: Path) -> Path:
    """OUTPUT/SHORT-NAME; where that is of a model of another organisation, OUTPUT/ORGANISATION--SHORT-NAME."""
    folder = output / _short(model_id)
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        with (folder / "evidence.jsonl").open(encoding="utf-8") as log:
            model = json.loads(log.readline())["scenario"]["model"]
        if f"{model['org']}/{model['name']}" != model_id:
            return output / f"{model_id.partition('/')[0].lower().replace('.', '-')}--{_short(model_id)}"
    return folder


def _run(
    result: Certification,
    playbook: Playbook | None,
    tier: Tier,
    registry: Path,
    folder: Path,
    say: Say,
    *,
    no_lock: bool,
    **options: Any,
) -> None:
    """Run pytest on the playbook; update the row of the registry when there is a score."""
    from pytest_aprqa.cli.evidence_input import LOG_NAME
    from pytest_aprqa.cli.progress_bar import working
    from pytest_aprqa.cli.run import arguments_for_pytest, captured_pytest
    from pytest_aprqa.reporting.report_files import CERTIFICATE

    workers = _fitting_workers(playbook, options["workers"], say)
    extra = ["--tier", tier.name, "--evidence-dir", str(folder), "-q", "--tb=no", "-p", "no:cacheprovider"]
    for name, value in (
        ("--model-cache", options["model_cache"]),
        ("--model-path", options["model_path"]),
        ("--apr-binary", options["apr_binary"]),
        ("--scenario-timeout", options["timeout"]),
        ("--failure-policy", options["failure_policy"]),
        ("-n", workers or None),
    ):
        if value is not None:
            extra += [name, str(value)]
    extra += [flag for flag, on in (("--no-gpu", options["no_gpu"]), ("--no-integrity-check", no_lock)) if on]
    before = _states(folder)
    with working(f"running {result.model_id}"):
        code, output = captured_pytest(arguments_for_pytest(str(result.playbook), tuple(extra)))
    written = {name for name, state in _states(folder).items() if state != before.get(name)}
    if code in (USAGE_EXIT, NO_TESTS_EXIT) or code < 0 or LOG_NAME not in written:
        lines = [line for line in output.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")]
        result.reason = (errors or lines or [f"pytest ended with {code}"])[-1].removeprefix("ERROR: ")[:2000]
        say(f"  Not run: {result.reason}", fg="red")
        return
    _record(result, tier, registry, folder, say, speeds=not options["no_speeds"])
    if options["sign"] is not None and CERTIFICATE in written:
        _sign(result, folder, options["sign"], say)
    if options["oracle_enhance"]:
        _write_checklist(folder, say)
    if options["auto_ticket"]:
        _write_tickets(folder, options["ticket_repo"], say)


def _states(folder: Path) -> dict[str, tuple[int, ...]]:
    """What tells the files of one run from those that an earlier one left in the same folder."""
    states: dict[str, tuple[int, ...]] = {}
    for name in ("evidence.jsonl", "certificate.json"):
        with contextlib.suppress(OSError):
            status = (folder / name).stat()
            states[name] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return states


def _fitting_workers(playbook: Playbook | None, requested: int, say: Say) -> int:
    """No more workers than fit beside each other for a model of the playbook's size category."""
    from pytest_aprqa.playbooks.size_categories import capped_workers

    if requested < 2 or playbook is None:  # the run says what is wrong with it
        return requested
    category = playbook.model.size_category
    allowed = capped_workers(category, requested)
    if allowed < requested:
        size = f"Model size {category.title()}" if category else "A model of unknown size (model.size_category)"
        say(f"  [RESOURCE] {size} caps workers at {allowed} (requested {requested})", fg="yellow")
    return allowed


def _sign(result: Certification, folder: Path, key: Path, say: Say) -> None:
    """Sign what the run wrote; whatever the verdict, a certificate says it. A run without a score has none."""
    from pytest_aprqa.reporting.report_files import CERTIFICATE
    from pytest_aprqa.signing import sign_file

    if (folder / CERTIFICATE).is_file():
        result.signature = str(sign_file(folder / CERTIFICATE, key))
        say(f"  Signature: {result.signature}")


def _write_checklist(folder: Path, say: Say) -> None:
    """checklist.md of the first failure; one of an earlier run goes where nothing failed."""
    from pytest_aprqa.cli.evidence_input import read_evidence
    from pytest_aprqa.reporting.atomic_file import write_atomically
    from pytest_aprqa.reporting.checklist import checklist
    from pytest_aprqa.scoring.errors import EmptyEvidence
    from pytest_aprqa.scoring.score import score

    recorded = read_evidence(folder)
    try:
        points = score(recorded.entries, model_id=recorded.model_id)
    except EmptyEvidence:
        points = None
    text = checklist(recorded.entries, points)
    if text is None:
        (folder / "checklist.md").unlink(missing_ok=True)
        return
    write_atomically(folder / "checklist.md", text)
    say(f"  Checklist: {folder / 'checklist.md'}")


def _write_tickets(folder: Path, repo: str, say: Say) -> None:
    from pytest_aprqa.cli.evidence_input import read_evidence
    from pytest_aprqa.cli.tickets import write_tickets
    from pytest_aprqa.reporting.tickets import tickets

    if found := tickets(read_evidence(folder).entries, by_cause=True):
        say(f"  Tickets: {len(found)}, {write_tickets(folder / 'tickets', repo, found)}")


def _record(result: Certification, tier: Tier, registry: Path, folder: Path, say: Say, *, speeds: bool) -> None:
    from pytest_aprqa.cli.evidence_input import read_evidence
    from pytest_aprqa.cli.known_models import known_facts
    from pytest_aprqa.registry.certification import certified, tier_not_met
    from pytest_aprqa.registry.recorded_version import is_another_version
    from pytest_aprqa.registry.row import RegistryRow
    from pytest_aprqa.registry.table import update_registry
    from pytest_aprqa.scoring.errors import EmptyEvidence
    from pytest_aprqa.scoring.score import score

    recorded = read_evidence(folder)
    result.evidence = str(folder)
    try:
        points = score(recorded.entries, model_id=result.model_id)
    except EmptyEvidence as error:
        result.reason = str(error)
        say(f"  Not run: {result.reason}", fg="red")
        return
    facts = points.to_dict()
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    asked = {"threshold": tier.threshold, "scenarios": tier.scenarios}

    def change(table: Registry) -> None:
        old = table.rows.get(result.model_id) or RegistryRow.new(result.model_id, **known_facts(result.model_id))
        same = not is_another_version(recorded.entries, folder, old["last_certified"])
        row = certified(
            old, recorded.entries, points, tier=tier.name, when=when, speeds=speeds, same_version=same, **asked
        )
        table.put(row)

    update_registry(registry, change, create=True)
    result.status, result.score, result.grade = str(facts["status"]), int(facts["raw_score"]), str(facts["grade"])
    result.counts = {name: count for name, count in facts["outcomes"].items() if count}
    not_met = tier_not_met(recorded.entries, points, **asked)
    result.tier_met = not_met is None
    if not_met is not None:
        failed = next((g for g in facts["gateways"] if g.get("failure_reason")), None)
        refuted = next((reason for reason in facts["status_reasons"] if facts["refuted"]), None)
        gateway = f"{failed['id']}: {failed['failure_reason']}" if failed else None
        result.reason = gateway or refuted or not_met
    say_result(say, result, recorded.entries, facts)
