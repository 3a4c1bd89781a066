"""models.csv loses nothing: bytes of untouched rows, order, line ends, unknown words; two writers at once."""

from __future__ import annotations

import multiprocessing
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_aprqa.registry.errors import RegistryError
from pytest_aprqa.registry.row import COLUMNS, RegistryRow
from pytest_aprqa.registry.table import MAX_BYTES, read_registry, update_registry

HEAD = ",".join(COLUMNS)
SOUND = (
    "Org/M-1.5B,fam,1.5B,small,CERTIFIED,914,A,mvp,2026-03-01T10:00:00+00:00,true,true,true,true,"
    "25.5,85.2,22.3,78.1,18.1,62.5,false"
)
OLD = '"Org/Old","a, b",135M,huge,PARTIAL,x1,A+,none,31/01/2026,false,False,,true,,,,,,,"no"'


def written(tmp_path, text, name="models.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("end", ["", "last"])
def test_untouched_rows_keep_their_bytes_and_line_ends(tmp_path, newline, end):
    text = newline.join([HEAD, OLD, SOUND]) + (newline if end else "")
    path = written(tmp_path, text)
    update_registry(path, lambda registry: registry.put(registry.rows["Org/M-1.5B"].changed(mqs_score="915")))
    expected = newline.join([HEAD, OLD, SOUND.replace("914", "915")]) + newline
    assert path.read_bytes().decode() == expected


def test_new_rows_come_last_and_need_quotes_only_where_csv_does(tmp_path):
    path = written(tmp_path, f"{HEAD}\n{SOUND}\n")
    update_registry(path, lambda registry: registry.put(RegistryRow.new("A/B", family='x, "y"')))
    lines = path.read_text().splitlines()
    assert lines[1] == SOUND
    assert lines[2] == 'A/B,"x, ""y""",,,PENDING,0,-,none,,false,false,false,false,,,,,,,false'


def test_registry_is_made_only_when_asked(tmp_path):
    path = tmp_path / "sub" / "models.csv"
    with pytest.raises(RegistryError, match="cannot be read"):
        update_registry(path, lambda registry: None)
    update_registry(path, lambda registry: registry.put(RegistryRow.new("A/B")), create=True)
    assert list(read_registry(path).rows) == ["A/B"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line|not a registry"),
        ("a,b\n", "not a registry of models"),
        (f"{HEAD}\nOrg/M,x\n", "has 2 fields, the header 20"),
        (f"{HEAD}\n{SOUND}\n{SOUND}\n", "stands twice"),
        (f'{HEAD}\n"Org/M,x\n', "is not CSV"),
    ],
)
def test_bad_files_are_one_clear_line(tmp_path, text, words):
    with pytest.raises(RegistryError, match=words) as caught:
        read_registry(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_bytes_that_are_not_utf8_and_files_without_end_are_refused(tmp_path):
    path = tmp_path / "models.csv"
    path.write_bytes(HEAD.encode() + b"\n\xff\n")
    with pytest.raises(RegistryError, match="not UTF-8 at byte"):
        read_registry(path)
    with path.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(RegistryError, match="larger than 16 MiB"):
        read_registry(path)


def test_byte_order_mark_and_empty_lines_are_read(tmp_path):
    assert list(read_registry(written(tmp_path, f"\ufeff{HEAD}\n\n{SOUND}\n")).rows) == ["Org/M-1.5B"]


def test_failed_change_leaves_the_file_and_no_part_behind(tmp_path):
    path = written(tmp_path, f"{HEAD}\n{SOUND}\n")
    before = path.read_bytes()

    def fail(registry):
        registry.put(RegistryRow.new("A/B"))
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        update_registry(path, fail)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []


def test_mode_of_the_file_and_a_link_to_it_stay(tmp_path):
    path = written(tmp_path, f"{HEAD}\n")
    path.chmod(0o664)
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    update_registry(link, lambda registry: registry.put(RegistryRow.new("A/B")))
    assert link.is_symlink()
    assert "A/B" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o664


def _add(path, prefix, count):
    for number in range(count):
        update_registry(path, lambda registry, n=number: registry.put(RegistryRow.new(f"{prefix}/M{n}")))


def test_two_writers_at_once_lose_nothing(tmp_path):
    path = written(tmp_path, f"{HEAD}\n")
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_add, args=(path, prefix, 25)) for prefix in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert set(read_registry(path).rows) == {f"{prefix}/M{n}" for prefix in ("a", "b") for n in range(25)}


CELLS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(CELLS, min_size=20, max_size=20), max_size=4, unique_by=lambda row: row[0]))
def test_any_text_survives_a_write_and_a_read(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("registry") / "models.csv"
    made = [RegistryRow(dict(zip(COLUMNS, cells, strict=True))) for cells in rows]
    update_registry(path, lambda registry: [registry.put(row) for row in made] and None, create=True)
    assert list(read_registry(path).rows.values()) == made
