import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_aprqa.evidence.errors import EvidenceError
from pytest_aprqa.evidence.log import EvidenceLog, is_torn, read_json, read_log
from pytest_aprqa.evidence.record import Evidence, canonical_json


def entry(output: str = "4") -> Evidence:
    return Evidence.corroborated(
        gate_id="F-A1-001", scenario={"id": "S", "model": {"org": "o", "name": "n"}}, output=output
    )


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "evidence.jsonl"


def write(path: Path, *entries: Evidence) -> None:
    with EvidenceLog(path) as log:
        for one in entries:
            log.append(one)


def test_entries_are_one_canonical_line_each_in_order(path):
    entries = [entry("a"), entry("b\nc"), entry("\ud800 ünïcode")]
    write(path, *entries)
    assert path.read_bytes().split(b"\n") == [*(canonical_json(e).encode() for e in entries), b""]
    content = read_log(path)
    assert list(content) == entries
    assert content[0] == entries[0]
    assert content[1:] == tuple(entries[1:])
    assert content.warnings == ()


def test_an_entry_is_synced_before_append_returns(path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    with EvidenceLog(path) as log:
        log.append(entry("a"))
        after_first = path.stat().st_size
        log.append(entry("b"))
    assert synced == [after_first, path.stat().st_size]


def test_opening_again_adds_to_what_is_there(path):
    first, second = entry("a"), entry("b")
    write(path, first)
    write(path, second)
    assert list(read_log(path)) == [first, second]


@pytest.mark.parametrize("cut", [1, 2, 10, 100, 300])
def test_a_torn_last_line_is_reported_and_the_rest_is_read(path, cut):
    first, second = entry("a"), entry("b")
    write(path, first, second)
    path.write_bytes(path.read_bytes()[: -1 - cut])
    content = read_log(path)
    assert list(content) == [first]
    assert len(content.warnings) == 1
    assert ":2: torn line" in content.warnings[0]


def test_every_prefix_of_a_log_is_readable(path):
    write(path, entry('a "quoted" \\ {[ text'), entry("b"))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        content = read_log(path)
        lines = whole[:length].count(b"\n")
        assert len(content) in (lines, lines + 1)  # plus one: only the newline is missing
        assert len(content.warnings) <= 1


def test_a_run_after_a_torn_line_loses_nothing_of_its_own(path):
    first, third = entry("a"), entry("c")
    write(path, first, entry("b"))
    path.write_bytes(path.read_bytes()[:-20])
    write(path, third)
    content = read_log(path)
    assert list(content) == [first, third]
    assert len(content.warnings) == 1


def test_a_whole_entry_without_its_newline_is_kept(path):
    first, second = entry("a"), entry("b")
    write(path, first)
    path.write_bytes(path.read_bytes()[:-1])
    write(path, second)
    assert list(read_log(path)) == [first, second]


def test_zeros_that_a_power_cut_leaves_are_a_torn_line(path):
    first = entry("a")
    write(path, first)
    with path.open("ab") as stream:
        stream.write(b"\0" * 512)
    content = read_log(path)
    assert list(content) == [first]
    assert len(content.warnings) == 1


@pytest.mark.parametrize("damage", [b"not json at all", b'{"id": "x", "gate_id": }', b"\xff\xfe{}", b"[1, 2"])
def test_a_damaged_line_in_the_middle_is_an_error_not_a_missing_failure(path, damage):
    write(path, entry("a"))
    with path.open("ab") as stream:
        stream.write(damage + b"\n")
    write(path, entry("c"))
    with pytest.raises(EvidenceError, match=r"evidence\.jsonl:2: damaged"):
        read_log(path)


def test_an_entry_without_its_fields_is_an_error_with_its_line(path):
    path.write_bytes(b'{"id": "x"}\n')
    with pytest.raises(EvidenceError, match=r":1: .*gate_id"):
        read_log(path)


def test_a_line_over_the_limit_is_refused_and_one_at_the_limit_is_not(path, monkeypatch):
    write(path, entry("a"))
    size = path.stat().st_size
    monkeypatch.setattr("pytest_aprqa.evidence.log.LONGEST_LINE", size)
    assert len(read_log(path)) == 1
    monkeypatch.setattr("pytest_aprqa.evidence.log.LONGEST_LINE", size - 1)
    with pytest.raises(EvidenceError, match="line too long"):
        read_log(path)


@pytest.mark.parametrize(
    ("line", "torn"),
    [
        (b"{", True), (b'{"a', True), (b'{"a": "}', True), (b'{"a": "\\"}', True), (b'{"a": [1}', True),
        (b'{"a": 1}', False), (b'{"a": x}', False), (b"abc", False), (b"", True), (b"\0\0\0", True),
    ],
)  # fmt: skip
def test_torn_means_an_object_that_is_not_closed(line, torn):
    assert is_torn(line) is torn


def test_a_full_disk_is_one_line_that_says_what_to_do():
    with EvidenceLog(Path("/dev/full")) as log, pytest.raises(EvidenceError) as caught:
        log.append(entry())
    assert str(caught.value) == (
        "/dev/full: cannot be written: No space left on device; free some space, what is in the log is safe"
    )


def test_a_pipe_that_cannot_be_synced_is_written_all_the_same(path):
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        one = entry()
        write(path, one)
        assert os.read(reader, 65536) == canonical_json(one).encode() + b"\n"
        with pytest.raises(OSError, match="Invalid argument"):
            os.fsync(reader)
    finally:
        os.close(reader)


def test_after_a_write_that_stopped_half_way_the_next_entry_has_its_own_line(path):
    first, lost, third = entry("a"), entry("b" * 5000), entry("c")
    write(path, first)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with EvidenceLog(path) as log:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 700, old[1]))
            with pytest.raises(EvidenceError, match="cannot be written"):
                log.append(lost)
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
            log.append(third)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    content = read_log(path)
    assert list(content) == [first, third]
    assert len(content.warnings) == 1


@pytest.mark.parametrize("place", ["missing/evidence.jsonl", "file/evidence.jsonl", ""])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(EvidenceError, match="cannot be opened for writing") as caught:
        EvidenceLog(tmp_path / place)
    assert "\n" not in str(caught.value)


def test_nothing_is_added_after_close(path):
    log = EvidenceLog(path)
    log.append(entry())
    log.close()
    log.close()
    with pytest.raises(EvidenceError, match="closed"):
        log.append(entry())
    assert len(read_log(path)) == 1


def test_a_killed_process_leaves_every_entry_that_it_had_appended(path):
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from pytest_aprqa.evidence.log import EvidenceLog\n"
        "from pytest_aprqa.evidence.record import Evidence\n"
        "log = EvidenceLog(Path(sys.argv[1]))\n"
        "for n in range(3):\n"
        "    log.append(Evidence.corroborated(gate_id='F-A1-001', scenario={}, output=str(n)))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    result = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert result.returncode == -9
    assert [e.output for e in read_log(path)] == ["0", "1", "2"]


def test_a_log_that_is_not_there_is_one_line(path):
    with pytest.raises(EvidenceError, match="cannot be read: No such file"):
        read_log(path)


def test_an_array_and_an_object_with_the_key_evidence_are_read(tmp_path):
    path = tmp_path / "evidence.json"
    one = entry()
    path.write_text(f"[{canonical_json(one)}]")
    assert list(read_json(path)) == [one]
    path.write_text(f'{{"evidence": [{canonical_json(one)}]}}')
    assert list(read_json(path)) == [one]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "neither an array"),
        ("7", "neither an array"),
        ("[", "is not JSON"),
        ("[{}]", "entry 0"),
        ("", "not JSON"),
    ],
)
def test_what_is_no_evidence_is_refused(tmp_path, text, said):
    path = tmp_path / "evidence.json"
    path.write_text(text)
    with pytest.raises(EvidenceError, match=said):
        read_json(path)


def test_importing_evidence_needs_the_standard_library_only():
    script = (
        "import sys\n"
        "import pytest_aprqa.evidence.array_file, pytest_aprqa.evidence.run_folder, pytest_aprqa.evidence.validation\n"
        "print(*sorted({'numpy', 'jsonschema', 'torch', 'yaml', 'jinja2'} & set(sys.modules)), 'loaded')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "loaded\n", "the heavy packages before that word came with it"
