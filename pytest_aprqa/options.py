"""Command-line options and their ini keys: one table, so that registration, precedence and docs cannot disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

GROUP = "aprqa"


@dataclass(frozen=True, slots=True)
class Option:
    """One option: `--flag` on the command line, `ini` in the configuration file, `playbook_field` in the playbook."""

    flag: str
    ini: str
    help: str
    metavar: str | None = None
    kind: str = "string"  # "string", "bool" or "list"
    playbook_field: str | None = None
    default: str | None = None

    @property
    def destination(self) -> str:
        """Attribute of `config.option` that holds the value."""
        return "aprqa_" + self.flag.removeprefix("--").removeprefix("aprqa-").replace("-", "_")


OPTIONS: tuple[Option, ...] = (
    Option(
        "--playbook",
        "aprqa_playbooks",
        "playbook to run, a path or a name such as qwen-coder-mvp; may be given more than once",
        "NAME_OR_PATH",
        "list",
    ),
    Option("--model-path", "aprqa_model_path", "folder or file that holds the model under test", "PATH"),
    Option("--model-cache", "aprqa_model_cache", "folder with one sub-folder ORG/NAME for each model", "DIR"),
    Option(
        "--against",
        "aprqa_against",
        "folder with the SafeTensors model that is the ground truth (default: the model's own)",
        "HF_FOLDER",
    ),
    Option(
        "--depth",
        "aprqa_depth",
        "run only the checks that compare with the ground truth, up to this depth: structure, weights, tokens,"
        " logits or text",
        "DEPTH",
    ),
    Option(
        "--engine",
        "aprqa_engine",
        "engine that runs every format, or one as FORMAT=NAME: torch, llama, apr, url or one of a plugin; may be given"
        " more than once (default: what prefers the format and is installed, else torch)",
        "NAME",
        "list",
    ),
    Option("--apr-binary", "aprqa_apr_binary", "the `apr` program that runs APR artifacts", "PROGRAM"),
    Option(
        "--engine-url",
        "aprqa_engine_url",
        "address of an OpenAI-compatible server that serves the model; its key is read from APRQA_ENGINE_KEY",
        "URL",
    ),
    Option("--no-gpu", "aprqa_no_gpu", "skip every gpu cell, with this option as the reason", kind="bool"),
    Option(
        "--tier",
        "aprqa_tier",
        "smoke, mvp, quick, standard or deep: which part of the matrix runs and the score that passes",
        "TIER",
        playbook_field="metadata.tier",
    ),
    Option(
        "--failure-policy",
        "aprqa_failure_policy",
        "stop-on-first, stop-on-p0, collect-all or fail-fast (default stop-on-p0)",
        "POLICY",
        playbook_field="failure_policy",
        default="stop-on-p0",
    ),
    Option(
        "--scenario-timeout",
        "aprqa_scenario_timeout",
        "time limit of one scenario in milliseconds, enforced by ending the engine (default 60000)",
        "MS",
        playbook_field="test_matrix.timeout_ms",
        default="60000",
    ),
    Option(
        "--no-integrity-check",
        "aprqa_no_integrity_check",
        "run a playbook although its bytes are not those of the lock file beside or above it",
        kind="bool",
    ),
    Option(
        "--evidence-dir",
        "aprqa_evidence_dir",
        "folder for evidence and reports, used as given (default: a new folder under evidence/)",
        "DIR",
    ),
    Option(
        "--shard",
        "aprqa_shard",
        "run part I of N, both from 1: items that share an engine stay together, every item is in one part; join the"
        " parts with `aprqa merge`",
        "I/N",
    ),
    Option(
        "--resume",
        "aprqa_resume",
        "go on with the run of this folder: what its log holds of the same checks, files and versions is replayed,"
        " marked cached; evidence is added to that folder unless --evidence-dir names another",
        "RUN_FOLDER",
    ),
    Option(
        "--falsify",
        "aprqa_falsify",
        "try the gates instead of the model: one item for each seeded defect, which passes when a gate names it",
        kind="bool",
    ),
    Option(
        "--falsify-all-gates",
        "aprqa_falsify_all_gates",
        "with --falsify: run every check on every defect, also after one has named it (slow)",
        kind="bool",
    ),
    Option(
        "--falsify-clean",
        "aprqa_falsify_clean",
        "with --falsify: how many random clean models must be accepted (default 4)",
        "N",
        default="4",
    ),
    Option(
        "--falsify-invariants",
        "aprqa_falsify_invariants",
        "try the invariants I-1 to I-5 on random models that Hypothesis draws: clean conversions must pass, planted"
        " defects must not (needs the extra `invariants`)",
        kind="bool",
    ),
    Option(
        "--falsify-invariants-examples",
        "aprqa_falsify_invariants_examples",
        "with --falsify-invariants: random models for each invariant (default 20; a tenth for I-1, which runs them)",
        "N",
        default="20",
    ),
    Option(
        "--falsify-invariants-folder",
        "aprqa_falsify_invariants_folder",
        "with --falsify-invariants: folder of the counter-examples, which are tried again first"
        " (default: counter-examples in the root folder)",
        "DIR",
    ),
    Option(
        "--aprqa-checks",
        "aprqa_checks",
        "module or file with further checks; may be given more than once",
        "MODULE_OR_FILE",
        "list",
    ),
)


def add_options(parser: pytest.Parser) -> None:
    """Register every option of the table and its ini key in the group `aprqa`."""
    group = parser.getgroup(GROUP, "language-model qualification")
    for option in OPTIONS:
        keywords: dict[str, Any] = {"dest": option.destination, "help": option.help}
        if option.kind == "bool":
            keywords |= {"action": "store_true", "default": False}
        elif option.kind == "list":
            keywords |= {"action": "append", "default": [], "metavar": option.metavar}
        else:
            keywords |= {"default": None, "metavar": option.metavar}
        group.addoption(option.flag, **keywords)
        ini_type: Any = {"bool": "bool", "list": "args"}.get(option.kind, "string")
        default: Any = {"bool": False, "list": []}.get(option.kind)
        parser.addini(option.ini, option.help, type=ini_type, default=default)


def given(config: pytest.Config, flag: str) -> tuple[Any, Any]:
    """(command-line value or None, ini value or None) of an option; empty strings and lists count as not given."""
    option = next(o for o in OPTIONS if o.flag == flag)
    command_line = getattr(config.option, option.destination, None)
    ini = config.getini(option.ini)
    return command_line or None, ini or None


def option_or_ini(config: pytest.Config, flag: str) -> Any:
    """The command-line value, else the ini value, else None (for options without a playbook field)."""
    command_line, ini = given(config, flag)
    return command_line if command_line is not None else ini
