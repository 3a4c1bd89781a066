"""Tickets, hypotheses, gateway specifications and skip files as items of a run; a stand-in plays the `apr` program."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
VERIFY, SPECIFICATIONS = REPOSITORY / "playbooks" / "verify", REPOSITORY / "playbooks" / "spec"
PROGRAM = """\
#!{python}
import sys
answers = {answers!r}
if sys.argv[1] == "--version":
    print('{{"name": "apr", "version": "0.72.3"}}')
elif sys.argv[1] == "surface":
    print('{{"commands": [' + ", ".join('{{"path": ["%s"], "args": []}}' % word for word in answers) + "]}}")
elif sys.argv[1] in answers:
    status, out, err = answers[sys.argv[1]]
    print(out.replace("ARGS", " ".join(sys.argv[2:])), end="")
    print(err, end="", file=sys.stderr)
    sys.exit(status)
else:
    sys.exit(2)
"""
GATE = "  - {{id: V-T-001, description: d, condition: '{condition}', tool: validate, args: ['${{MODEL}}']}}\n"


@pytest.fixture
def apr(tmp_path):
    """Write a program that answers each command with (status, output, standard error)."""

    def write(**answers):
        path = tmp_path / "apr"
        path.write_text(PROGRAM.format(python=sys.executable, answers=answers), encoding="utf-8")
        path.chmod(0o755)
        return path

    return write


def ticket(project, condition="exit_code == 0", more=""):
    path = project.path / "TICKET-7.yaml"
    head = "name: ticket-7\nversion: 1.0.0\ndescription: d\n"
    path.write_text(f"{head}{more}verification_gates:\n{GATE.format(condition=condition)}", encoding="utf-8")
    return path


def run(project, path, program, *arguments):
    options = ("-p", "no:cacheprovider", "--playbook", str(path), "--apr-binary", str(program), "-rs")
    return project.pytester.runpytest_inprocess(*options, *arguments)


@pytest.mark.parametrize(
    ("condition", "output", "outcome"),
    [
        ("exit_code == 0 && nan_count == 0", '{"nan_count": 0}', {"passed": 1}),
        ("exit_code == 0 && nan_count == 0", "nan_count: 3\n", {"failed": 1}),
        ("diff < 1e-6", "diff = 9e-7", {"passed": 1}),
        ("diff < 1e-6", "all fine", {"failed": 1}),
    ],
)
def test_a_gate_is_decided_by_what_the_tool_prints(project, apr, condition, output, outcome):
    result = run(project, ticket(project, condition), apr(validate=(0, output, "")), "--model-path", "x")
    result.assert_outcomes(**outcome)
    assert (project.path / "evidence").is_dir()


def test_each_item_leaves_evidence_and_no_score(project, apr):
    gates = "".join(
        f"  - {{id: V-T-00{n}, description: d{n}, condition: 'exit_code == 0', tool: {tool}, args: ['${{MODEL}}']}}\n"
        for n, tool in enumerate(("validate", "inspect", "check"), start=2)
    )
    path = ticket(project)
    path.write_text(path.read_text() + gates + "acceptance: {no_nan_values: true}\n")
    program = apr(validate=(0, "fine", ""), inspect=(3, "", "broken"), check=(101, "", "thread 'main' panicked at x"))
    result = run(project, path, program, "--model-path", "some/where")
    result.assert_outcomes(passed=2, failed=2, skipped=1)
    result.stdout.fnmatch_lines(["*2 held, 2 refuted, 1 not run; no model was scored*"])
    entries = {entry["gate_id"]: entry for entry in project.evidence()}
    assert {name: entry["outcome"] for name, entry in entries.items()} == {
        "V-T-001": "Corroborated", "V-T-002": "Corroborated", "V-T-003": "Falsified", "V-T-004": "Crashed",
        "acceptance-no_nan_values": "Skipped",
    }  # fmt: skip
    first = entries["V-T-001"]
    assert (first["check"], first["playbook"], first["severity"]) == ("ticket", "TICKET-7", "P1")
    assert (first["output"], first["observed"][0]["value"]) == ("fine", 0)
    assert first["scenario"]["model"] == {"org": "some", "name": "where", "variant": None}
    assert first["metadata"]["verification"] == "ticket"
    assert first["metadata"]["playbook_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "exit_code is 3" in entries["V-T-003"]["reason"]
    assert "panicked" in entries["V-T-004"]["stderr"]
    assert "for whoever closes the ticket" in entries["acceptance-no_nan_values"]["reason"]
    folder = project.path / "evidence" / "latest"
    assert {"junit.xml", "report.html", "report.md"} <= {one.name for one in folder.iterdir()}
    assert not (folder / "mqs.json").exists()
    assert not (folder / "certificate.json").exists()


def test_a_command_that_does_not_end_is_a_timeout(project, apr):
    program = apr(validate=(0, "", ""))
    answer = "elif sys.argv[1] in answers:\n"
    program.write_text(program.read_text().replace(answer, f"{answer}    __import__('time').sleep(60)\n"))
    run(project, ticket(project), program, "--model-path", "x", "--scenario-timeout", "1000").assert_outcomes(failed=1)
    (entry,) = project.evidence()
    assert (entry["outcome"], entry["metrics"]["duration_ms"]) == ("Timeout", 1000)
    assert "did not end within 1000 ms" in entry["reason"]


def test_expectations_of_a_reproduction(project, apr):
    more = (
        "reproduction: {command: 'apr validate ${MODEL}', original_error: it was accepted}\n"
        "expected: {exit_code: 3, output_contains: [refused], output_not_contains: [panicked]}\n"
    )
    path = ticket(project, "exit_code == 3", more)
    for answer, outcome, words in [
        ((3, "", "refused"), {"passed": 2}, ""),
        ((0, "refused", ""), {"failed": 2}, "*exit status 0, expected 3*"),
        ((3, "fine", ""), {"passed": 1, "failed": 1}, "*the output does not have 'refused'*"),
        ((101, "", "thread 'main' panicked at x"), {"failed": 2}, "*it crashed, status 101*"),
    ]:
        result = run(project, path, apr(validate=answer), "--model-path", "x")
        result.assert_outcomes(**outcome)
        if words:
            result.stdout.fnmatch_lines([words])


def test_what_cannot_run_is_skipped_with_the_reason(project, apr):
    more = "tools_required: [validate, melt]\n"
    program = apr(validate=(0, "", ""))
    run(project, ticket(project), program).stdout.fnmatch_lines(["*the command names ${MODEL}: give --model-path*"])
    missing = run(project, ticket(project, more=more), program, "--model-path", "x")
    missing.stdout.fnmatch_lines(["*tools_required: * has no command melt*"])
    none = project.run("--playbook", str(ticket(project)), "--apr-binary", "no-such-apr", "--model-path", "x", "-rs")
    assert none.ret in (0, 4)
    assert "no such program" in none.stdout.str() + none.stderr.str()


def test_the_committed_tickets_and_hypotheses_are_items(project, apr):
    everything = apr(
        **dict.fromkeys(("validate", "inspect", "tensors", "check", "run"), (1, "x nan_count: 0 inf_count: 0", ""))
    )
    first = run(project, VERIFY / "TICKET-901.yaml", everything, "--model-path", "m", "-v")
    first.assert_outcomes(passed=2, skipped=5)
    first.stdout.fnmatch_lines(["*V-TICKET-901-002*SKIPPED*", "*gate G0-VALIDATE-001 decides it*"])
    second = run(project, VERIFY / "TICKET-902.yaml", everything, "--model-path", "m")
    second.assert_outcomes(passed=1, skipped=2)
    quick = run(project, VERIFY / "fail-fast-falsification.yaml", everything, "--model-path", "m")
    quick.assert_outcomes(failed=6, skipped=2)


def test_a_ticket_with_a_model_is_a_model_playbook(project):
    result = project.run("--playbook", str(VERIFY / "TICKET-903.yaml"), "--co", "-q")
    assert result.ret == 0
    ids = [line for line in result.outlines if "::" in line]
    assert any("test_answer_is_accepted[gguf-cpu-run-p00]" in line for line in ids)
    assert any("test_configured_block[verification_gates]" in line for line in ids)


def test_specifications_judge_and_say_what_a_failure_means(project, apr):
    text = "A variable is a name for a value."
    good = dict.fromkeys(("inspect", "check", "run"), (0, text, ""))
    for path in sorted(SPECIFICATIONS.glob("*.yaml")):
        result = run(project, path, apr(**good), "--model-path", "m")
        assert result.ret == 0, result.stdout.str()
    bad = run(
        project, SPECIFICATIONS / "gateway-g4-output-quality.yaml", apr(run=(0, "aaaa aaaa", "")), "--model-path", "m"
    )
    bad.assert_outcomes(failed=1, passed=2)
    bad.stdout.fnmatch_lines(["*different characters, limit 10; G4 is refuted: the score is 0*"])
    crash = apr(run=(0, text, "stack smashing detected"))
    assert run(project, SPECIFICATIONS / "gateway-g3-no-crashes.yaml", crash, "--model-path", "m").ret == 1


def test_a_wrong_example_of_garbage_is_found(project, apr):
    text = (SPECIFICATIONS / "gateway-g4-output-quality.yaml").read_text(encoding="utf-8")
    path = project.path / "g4.yaml"
    path.write_text(re.sub(r"- NaN NaN.*", "- A plain sentence that says something.", text), encoding="utf-8")
    result = run(project, path, apr(), "-k", "garbage-examples")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the oracle says pass of 'A plain sentence*"])


def test_a_failure_policy_ends_the_run(project, apr):
    more = "failure_policy: stop_on_first\nreproduction: {command: 'apr validate x'}\n"
    result = run(project, ticket(project, more=more), apr(validate=(1, "", "no")), "--model-path", "x")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*failure policy stop-on-first: reproduction failed*"])


def test_a_bad_file_is_one_line_with_its_place(project):
    path = ticket(project, "works")
    result = project.run("--playbook", str(path))
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"*{path}:5:*verification_gates*condition*is not a comparison*"])


def test_a_folder_does_not_collect_them(project):
    ticket(project)
    assert project.run("--co", "-q").ret == 5


def test_skips_of_a_skip_file_are_skipped_items_with_their_reason(project):
    path = project.write_playbook(test_matrix={"backends": ["cpu", "gpu"]})
    entries = [
        {"format_or_backend": "gpu", "reason": "no such machine", "tracking_issue": "#12"},
        {"format_or_backend": "apr", "reason": "no converter yet"},
    ]
    (project.path / "small.skip.yaml").write_text(json.dumps(entries), encoding="utf-8")
    result = project.run(f"--playbook={path}", "-k", "declared_skip or (test_model_loads and gpu)", "-rs")
    result.stdout.fnmatch_lines(["*WARN* Implicit skip detected: gguf"])
    assert "Implicit skip detected: apr" not in result.stdout.str()
    reasons = {entry["node_id"].split("::")[1]: entry["reason"] for entry in project.evidence()}
    assert reasons["test_declared_skip[apr]"].startswith("apr is skipped on purpose: no converter yet")
    gpu = [reason for name, reason in reasons.items() if "gpu" in name]
    assert gpu
    assert all(reason == "gpu is skipped on purpose: no such machine (#12)" for reason in gpu)
    assert {entry["outcome"] for entry in project.evidence()} == {"Skipped"}
