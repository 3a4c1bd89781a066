"""pytest's own features work on the items of a playbook: selection, last failed, reports, plugins."""

from __future__ import annotations

import re

import pytest

ANSWERS = "test_answer_is_accepted"


def test_collect_only_lists_stable_readable_ids_and_runs_nothing(project):
    path = project.write_playbook()
    first = project.run(f"--playbook={path}", "--co", "-q")
    second = project.run(str(path), "--co", "-q")
    first.assert_outcomes()
    ids = [line for line in first.outlines if "::" in line]
    assert "small.playbook.yaml::test_answer_is_accepted[safetensors-cpu-run-p00]" in ids
    assert "small.playbook.yaml::test_engine_survives[safetensors-cpu-run]" in ids
    assert "small.playbook.yaml::test_file_is_sound[safetensors]" in ids
    assert ids == [line for line in second.outlines if "::" in line], "--playbook and plain collection differ"
    assert not (project.path / "evidence").exists()


def test_keyword_and_mark_expressions_select_items(project):
    path = project.write_playbook()
    by_keyword = project.run(f"--playbook={path}", "-k", "survives or loads", "-v")
    by_keyword.assert_outcomes(passed=2)
    assert by_keyword.ret == 0
    by_keyword.stdout.fnmatch_lines(["*partial run*"])
    by_mark = project.run(f"--playbook={path}", "-m", "gateway", "--co", "-q")
    names = {line.split("::")[1].split("[")[0] for line in by_mark.outlines if "::" in line}
    assert "test_tensor_layout" in names
    assert ANSWERS not in names


def test_last_failed_runs_only_what_failed(project):
    path = project.write_playbook(oracles=[{"type": "arithmetic", "config": {"answers": {"Hello!": "1234"}}}])
    arguments = (f"--playbook={path}", "-k", "answer_is_accepted")
    first = project.run(*arguments, "-p", "cacheprovider", "--lf")
    first.assert_outcomes(passed=1, failed=1)
    again = project.run(*arguments, "--lf")
    again.assert_outcomes(failed=1)
    assert again.ret == 1


def test_exitfirst_stops_after_the_first_failure(project):
    path = project.write_playbook(
        oracles=[{"type": "arithmetic", "config": {"answers": {"Hello!": "1234", "What is 2+2?": "1234"}}}]
    )
    result = project.run(f"--playbook={path}", "-k", "answer_is_accepted", "-x")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*stopping after 1 failures*"])


def test_durations_are_reported(project):
    path = project.write_playbook()
    result = project.run(f"--playbook={path}", "-k", "test_model_loads", "--durations=3", "-vv")
    text = result.stdout.str()
    assert re.search(r"slowest.*durations", text)
    assert re.search(r"^\s*\d+\.\d+s setup +small\.playbook\.yaml::test_model_loads", text, re.MULTILINE)


def test_assertion_rewriting_explains_a_users_check(project):
    path = project.write_playbook()
    project.pytester.makepyfile(
        my_checks="""
        import pytest

        @pytest.mark.gate("F-QUAL-900", severity="P2", title="hidden size")
        def test_hidden_size_is_odd(artifact, observe):
            observe("hidden_size", artifact.config.hidden_size)
            assert artifact.config.hidden_size == 255
        """
    )
    result = project.run(f"--playbook={path}", "--aprqa-checks", "my_checks.py", "-k", "hidden_size_is_odd")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert 256 == 255*"])
    (entry,) = project.evidence()
    assert entry["gate_id"] == "F-QUAL-900"
    assert entry["outcome"] == "Falsified"
    assert entry["observed"][0]["value"] == 256


def test_a_users_check_may_not_hide_a_packaged_one(project):
    path = project.write_playbook()
    project.pytester.makepyfile(my_checks="def test_model_loads():\n    pass\n")
    result = project.run(f"--playbook={path}", "--aprqa-checks", "my_checks.py")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*test_model_loads*hides*rename it*"])


def test_pytest_timeout_becomes_a_timeout_outcome(project):
    path = project.write_playbook()
    project.pytester.makepyfile(
        slow_checks="""
        import time

        def test_sleeps(playbook):
            time.sleep(30)
        """
    )
    result = project.run(f"--playbook={path}", "--aprqa-checks", "slow_checks.py", "-k", "test_sleeps", "--timeout=1")
    result.assert_outcomes(failed=1)
    assert [e["outcome"] for e in project.evidence()] == ["Timeout"]


def test_html_report_of_pytest_html_lists_the_items(project):
    path = project.write_playbook()
    project.run(f"--playbook={path}", "-k", "file_is_sound", "--html=out.html", "--self-contained-html")
    assert "test_file_is_sound[safetensors]" in (project.path / "out.html").read_text(encoding="utf-8")


def test_reruns_keep_every_attempt_and_the_worst_outcome(project):
    path = project.write_playbook()
    project.pytester.makepyfile(
        flaky_checks="""
        from pathlib import Path

        def test_passes_the_second_time(playbook):
            seen = Path("seen")
            if not seen.exists():
                seen.touch()
                raise AssertionError("first attempt")
        """
    )
    result = project.run(f"--playbook={path}", "--aprqa-checks", "flaky_checks.py", "-k", "second_time", "--reruns=1")
    assert re.search(r"1 passed, .*1 rerun", result.stdout.str())
    (entry,) = project.evidence()
    assert entry["outcome"] == "Falsified"
    assert entry["metadata"]["attempts"] == "Falsified, Corroborated"
    assert result.ret == 0


def test_help_lists_the_options_in_their_group(project):
    result = project.run("--help")
    result.stdout.fnmatch_lines(
        ["language-model qualification:", "*--playbook=NAME_OR_PATH*", "*--scenario-timeout=MS*"]
    )


def test_strict_markers_know_the_marks(project):
    project.pytester.makepyfile(
        """
        import pytest

        @pytest.mark.gate("X-1")
        @pytest.mark.gateway("G1")
        @pytest.mark.invariant("I-1")
        def test_marked():
            assert True
        """
    )
    project.run("--strict-markers").assert_outcomes(passed=1)


def test_a_wrong_mark_is_one_clear_error(project):
    path = project.write_playbook()
    project.pytester.makepyfile(
        my_checks="""
        import pytest

        @pytest.mark.gate("F-QUAL-901", severity="P9")
        def test_marked_wrongly(playbook):
            pass
        """
    )
    result = project.run(f"--playbook={path}", "--aprqa-checks", "my_checks.py", "-k", "marked_wrongly")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*mark gate: severity 'P9' is not one of P0, P1, P2*"])


def test_other_test_runs_keep_the_scheduler_of_xdist(project):
    project.pytester.makepyfile(
        "import pytest\n\n@pytest.mark.parametrize('n', range(4))\ndef test_any(n, worker_id):\n    print(n)\n"
    )
    result = project.run("-n2", "-v")
    result.assert_outcomes(passed=4)
    workers = set(re.findall(r"\[(gw\d)\]", result.stdout.str()))
    assert workers == {"gw0", "gw1"}, "one file would be one scope if the playbook scheduler took over"


def test_items_that_share_an_engine_run_on_one_worker(project):
    path = project.write_playbook(model={"formats": ["safetensors", "gguf"]})
    result = project.run(f"--playbook={path}", "-n2", "-v", "-k", "sound or finite")
    lines = re.findall(r"\[(gw\d)\].*::\w+\[(safetensors|gguf)\]", result.stdout.str())
    assert len(lines) == 4
    assert len({worker for worker, name in lines if name == "gguf"}) == 1
    assert len({worker for worker, name in lines if name == "safetensors"}) == 1


@pytest.mark.parametrize("arguments", [[], ["--assert=plain"]])
def test_no_check_passes_because_python_leaves_assertions_out(project, monkeypatch, arguments):
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    project.pytester.makepyfile(my_checks="def test_refutes(playbook):\n    assert not playbook\n")
    path = project.write_playbook()
    options = ["--aprqa-checks=my_checks.py", "-k", "test_refutes", *arguments]
    result = project.run(f"--playbook={path}", *options)
    if arguments:
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert "every check would pass" in result.stderr.str()
    else:
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        assert result.parseoutcomes()["failed"] == 1


def test_assertions_may_be_plain_where_python_runs_them(project):
    project.pytester.makepyfile(my_checks="def test_refutes(playbook):\n    assert not playbook\n")
    path = project.write_playbook()
    result = project.run(f"--playbook={path}", "--aprqa-checks=my_checks.py", "-k", "test_refutes", "--assert=plain")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
