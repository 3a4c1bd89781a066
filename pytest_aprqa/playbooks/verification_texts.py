"""The ticket, hypotheses, gateway specification and skip files that this repository carries, written from tables."""

from __future__ import annotations

from typing import Any

from pytest_aprqa.playbooks.facts import PlaybookFacts
from pytest_aprqa.playbooks.generator import SCHEMA_LINE, TIER_SUFFIX, yaml_text
from pytest_aprqa.playbooks.playbook import FORMATS

SCHEMA = "../verification.schema.json"
CRASH_PATTERNS = ["panicked at", "SIGSEGV", "Segmentation fault", "SIGABRT", "stack smashing", "double free"]
TOOLS = ["inspect", "validate", "check", "bench", "trace", "profile", "run", "serve", "diff", "canary"]
_RUN = "apr run ${MODEL} --prompt 'What is 2+2?' --max-tokens 8"

# id, name, command or None, hypothesis: what a first look at a converted model tries to refute, cheapest first.
_HYPOTHESES = (
    ("F-FF-OPEN-001", "inspect", "apr inspect ${MODEL}", "the header is read and names a model"),
    ("F-FF-OPEN-002", "validate", "apr validate ${MODEL}", "every tensor lies within the file and is finite"),
    ("F-FF-OPEN-003", "tensors", "apr tensors ${MODEL}", "the list of tensors is printed"),
    ("F-FF-LOAD-001", "check", "apr check ${MODEL}", "the model is put together and every stage answers"),
    ("F-FF-RUN-001", "run", _RUN, "one short completion ends without an error"),
    ("F-FF-RUN-002", "empty prompt", "apr run ${MODEL} --prompt '' --max-tokens 1", "an empty prompt is no crash"),
    ("F-FF-RUN-003", "same twice", None, "greedy decoding gives the same text twice: see gate F-STAB-001"),
    ("F-FF-CONV-001", "round trip", None, "a conversion there and back loses nothing: see the gates F-CONV-*"),
)

# file stem, gate, requirement, then scenarios: name, command, what is expected.
_SPECIFICATIONS: tuple[tuple[str, str, str, tuple[tuple[str, str, dict[str, Any]], ...]], ...] = (
    (
        "gateway-g1-model-loads",
        "G1-LOAD",
        "The file is found, its header is read and the engine reports no load error.",
        (
            ("inspect the file", "apr inspect ${MODEL}", {"exit_code": 0, "no_panic": True, "stdout_not_empty": True}),
            ("check the model", "apr check ${MODEL}", {"exit_code": 0, "no_panic": True}),
            (
                "a file that is not there",
                "apr inspect no-such-model.apr",
                {"no_panic": True, "output_not_contains": ["panicked at"]},
            ),
        ),
    ),
    (
        "gateway-g2-basic-inference",
        "G2-INFER",
        "A short prompt gets some answer within the time limit.",
        (
            ("answer a sum", _RUN, {"exit_code": 0, "stdout_not_empty": True, "no_panic": True}),
            (
                "answer an unfinished function",
                "apr run ${MODEL} --prompt 'def fibonacci(n):' --max-tokens 16",
                {"exit_code": 0, "stdout_not_empty": True, "no_panic": True},
            ),
        ),
    ),
    (
        "gateway-g3-no-crashes",
        "G3-STABLE",
        "No input ends the program by a signal or a panic; it may be refused with an error.",
        (
            ("empty prompt", "apr run ${MODEL} --prompt '' --max-tokens 1", {"no_panic": True}),
            ("one space", "apr run ${MODEL} --prompt ' ' --max-tokens 1", {"no_panic": True}),
            ("other scripts", "apr run ${MODEL} --prompt '你好 مرحبا' --max-tokens 1", {"no_panic": True}),
        ),
    ),
    (
        "gateway-g4-output-quality",
        "G4-VALID",
        "The text is not garbage: no NaN, no endless repetition, enough different characters.",
        (
            (
                "explain a variable",
                "apr run ${MODEL} --prompt 'Explain what a variable is in one sentence.' --max-tokens 64",
                {"exit_code": 0, "min_unique_chars": 10, "garbage_check": True, "no_panic": True},
            ),
        ),
    ),
)


def example_texts() -> dict[str, str]:
    """Text of each file by its path below `playbooks/`; same version, same bytes."""
    texts = {f"verify/{stem}.yaml": _text(data, stem) for stem, data in _tickets().items()}
    texts["verify/fail-fast-falsification.yaml"] = _text(_hypotheses(), "hypotheses, cheapest first")
    for stem, gate, requirement, scenarios in _SPECIFICATIONS:
        texts[f"spec/{stem}.yaml"] = _text(_specification(gate, requirement, scenarios), f"what {gate} asks for")
    return texts


def _text(data: dict[str, Any], title: str) -> str:
    kind = "playbook" if "test_matrix" in data else "verification"
    head = f"{SCHEMA_LINE.format(schema=f'../{kind}.schema.json')}\n# {title}; run: pytest --playbook THIS_FILE\n"
    return head + yaml_text(data)


def _tickets() -> dict[str, dict[str, Any]]:
    return {"TICKET-901": _silent_conversion(), "TICKET-902": _not_finite(), "TICKET-903": _other_answer()}


def _silent_conversion() -> dict[str, Any]:
    return {
        "name": "ticket-901-broken-file-is-refused",
        "version": "1.0.0",
        "description": "A file that was cut short must be refused with an error, neither accepted nor a crash.",
        "reproduction": {
            "model": "any model, cut short by one byte",
            "command": "apr validate ${MODEL}",
            "original_exit_code": 0,
            "original_error": "validate ended with status 0 on a file that was cut short",
        },
        "expected": {"exit_code": 1, "no_panic": True, "output_not_contains": ["panicked at"]},
        "verification_gates": [
            _tool_gate("V-TICKET-901-001", "inspect refuses the file too", "exit_code != 0", "inspect"),
            {
                "id": "V-TICKET-901-002",
                "description": "our own readers refuse it",
                "condition": "exit_code != 0",
                "gate": "G0-VALIDATE-001",
            },
        ],
        "acceptance": {"all_gates_pass": True, "no_false_negatives": True, "validate_exit_code": 1},
        "regression_tests": ["a file cut short by a page is refused"],
        "tools_required": ["validate", "inspect"],
        "metadata": {"ticket": "TICKET-901", "severity": "P0", "component": "reader"},
    }


def _not_finite() -> dict[str, Any]:
    return {
        "name": "ticket-902-values-are-finite",
        "version": "1.0.0",
        "description": "After a conversion no tensor holds NaN or infinity.",
        "verification_gates": [
            _tool_gate(
                "V-TICKET-902-001",
                "validate counts no value that is not finite",
                "nan_count == 0 && inf_count == 0",
                "validate",
            )
        ],
        "acceptance": {"no_nan_values": True, "no_inf_values": True},
        "tools_required": ["validate"],
        "metadata": {"ticket": "TICKET-902", "severity": "P0", "component": "converter"},
    }


def _other_answer() -> dict[str, Any]:
    """With a model and a matrix: also a model playbook, which runs here without any other program."""
    return {
        "name": "ticket-903-formats-agree",
        "version": "1.0.0",
        "description": "The three formats of one model give one answer; the model is the one of this repository.",
        "model": {
            "hf_repo": "aprqa/tiny-qwen2",
            "local_path": "../../models/tiny-qwen2",
            "formats": ["safetensors", "apr", "gguf"],
            "size_category": "tiny",
        },
        "test_matrix": {
            "modalities": ["run"],
            "backends": ["cpu"],
            "scenario_count": 1,
            "prompts": ["What is 2+2?"],
            "timeout_ms": 60_000,
        },
        "failure_policy": "collect_all",
        "verification_gates": [
            {
                "id": "V-TICKET-903-001",
                "description": "the weights are those of the source",
                "condition": "diff < 1e-6",
                "gate": "F-CONTRACT-I2-001",
            }
        ],
        "metadata": {"ticket": "TICKET-903", "severity": "P1", "component": "converter"},
    }


def _tool_gate(identifier: str, description: str, condition: str, tool: str) -> dict[str, Any]:
    return {
        "id": identifier,
        "description": description,
        "condition": condition,
        "tool": tool,
        "args": ["${MODEL}", "--json"],
    }


def _hypotheses() -> dict[str, Any]:
    tests = []
    for identifier, name, command, hypothesis in _HYPOTHESES:
        test = {"id": identifier, "name": name, "hypothesis": hypothesis}
        tests.append(test | ({"command": command} if command else {}))
    return {
        "name": "fail-fast-falsification",
        "version": "1.0.0",
        "description": "What is tried first on an unknown file, cheapest first; give --model-path.",
        "model": "the file that --model-path names",
        "tier": "smoke",
        "tests": tests,
    }


def _specification(
    gate: str, requirement: str, scenarios: tuple[tuple[str, str, dict[str, Any]], ...]
) -> dict[str, Any]:
    number = gate[1]
    data: dict[str, Any] = {
        "spec": {
            "id": f"G{number}",
            "section": "gateways",
            "document": "docs/explanation/gates.md",
            "requirement": requirement,
        },
        "scenarios": [
            {"name": name, "command": command, "expected": expected, "timeout_ms": 120_000}
            for name, command, expected in scenarios
        ],
        "gate": {
            "id": gate,
            "severity": "P0",
            "condition": "every scenario is as expected",
            "failure_action": "zero_mqs",
            "failure_message": f"G{number} is refuted: the score is 0",
        },
    }
    if gate == "G3-STABLE":
        data["crash_patterns"] = CRASH_PATTERNS
    if gate == "G4-VALID":
        data["garbage_oracle"] = {"max_repetition_ratio": 0.3, "min_unique_chars": 10}
        data["garbage_examples"] = ["NaN NaN NaN NaN NaN NaN", "the the the the the the the the the the the the"]
        data["valid_examples"] = ["A variable is a name for a value that a program can read and change."]
    return data


def skip_text(facts: PlaybookFacts) -> str | None:
    """The skip file of a playbook that leaves out formats or backends, or None where it leaves out nothing."""
    match = TIER_SUFFIX.search(facts.stem)
    tier = f"the {match[1]} playbook" if match else "this playbook"
    entries = [
        {"format_or_backend": name, "reason": f"{tier} tests {', '.join(facts.formats)} only; see the mvp playbook"}
        for name in FORMATS
        if name not in facts.formats
    ]
    if not entries:
        return None
    import yaml

    head = f"# What {facts.stem} leaves out on purpose; it is reported as skipped, with this reason.\n"
    return head + yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=116)
