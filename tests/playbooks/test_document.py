"""Hostile and mistaken YAML: one PlaybookError of one line, quickly, and never anything else."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_aprqa.playbooks.document import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_NODES,
    load_yaml,
    number_of,
    plain_value,
)
from pytest_aprqa.playbooks.errors import PlaybookError


@pytest.fixture
def load(tmp_path):
    """Load YAML given as text or bytes."""

    def load(content):
        path = tmp_path / "x.playbook.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return load_yaml(path)

    return load


@pytest.fixture
def refusal(load):
    """The error that YAML given as text or bytes leads to; always one line."""

    def refusal(content):
        with pytest.raises(PlaybookError) as caught:
            load(content)
        assert len(str(caught.value).splitlines()) == 1
        return caught.value

    return refusal


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n"
    for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)


class TestRefusals:
    def test_alias_bomb_is_refused_at_its_first_anchor(self, refusal):
        started = time.perf_counter()
        error = refusal(BOMB)
        assert "anchor `&a` is not accepted" in str(error)
        assert (error.line, error.column, error.key_path) == (1, 4, "a")
        assert time.perf_counter() - started < 5

    def test_self_referencing_alias(self, refusal):
        assert "anchor `&loop`" in str(refusal("a: &loop [*loop]\n"))

    def test_alias_without_anchor(self, refusal):
        assert "alias `*nothing` is not accepted" in str(refusal("a: *nothing\n"))

    def test_merge_key(self, refusal):
        assert "key `<<`" in str(refusal("a:\n  <<: {b: 1}\n"))

    @pytest.mark.parametrize(
        "value",
        ["!!python/object/apply:os.system ['true']", "!custom 1", "!!str 1", "!!binary aGk=", "! plain", "!!set {a}"],
    )
    def test_every_tag(self, refusal, value):
        error = refusal(f"name: {value}\n")
        assert "is not accepted; remove the tag" in str(error)
        assert (error.key_path, error.line) == ("name", 1)

    @pytest.mark.parametrize(
        "key", ["no", "No", "yes", "on", "off", "y", "true", "null", "~", "12", "1.5", "1e3", "12:30:45", "2026-01-31"]
    )
    def test_key_that_some_loaders_do_not_read_as_text(self, refusal, key):
        assert str(refusal(f"model:\n  {key}: 1\n")).endswith(
            f":2:3: model: key `{key}` is not text in every YAML loader; put it in quotes"
        )

    def test_quoted_treacherous_key_is_text(self, load):
        assert load("'no': 1\n\"on\": 2\n").data == {"no": 1, "on": 2}

    def test_key_that_is_a_list(self, refusal):
        assert "a key must be text" in str(refusal("? [a, b]\n: 1\n"))

    def test_duplicate_key_names_both_lines(self, refusal):
        error = refusal("model:\n  formats: [apr]\n  formats: [gguf]\n")
        assert (error.line, error.column, error.key_path) == (3, 3, "model.formats")
        assert "first in line 2" in str(error)

    def test_duplicate_key_that_differs_in_quotes_only(self, refusal):
        assert "twice" in str(refusal("a: 1\n'a': 2\n"))

    def test_same_key_in_different_mappings_is_fine(self, load):
        assert load("a: {x: 1}\nb: {x: 1}\n").data == {"a": {"x": 1}, "b": {"x": 1}}

    def test_two_documents(self, refusal):
        assert "more than one YAML document" in str(refusal("a: 1\n---\na: 2\n"))

    @pytest.mark.parametrize(
        "content", ["a: [1, 2\n", "a: b: c\n", "\tname: x\n", "a: 'open\n", "a: }\n", "%YAML 9.x\n---\na\n"]
    )
    def test_not_yaml_names_line_and_column(self, refusal, content):
        error = refusal(content)
        assert "is not YAML" in str(error)
        assert error.line is not None

    @pytest.mark.parametrize("character", ["\x00", "\x07", "\x7f", "\ufffe"])
    def test_control_character(self, refusal, character):
        assert "is not YAML" in str(refusal(f"a: 1\nb: x{character}y\n"))

    def test_bytes_that_are_not_utf_8(self, refusal):
        error = refusal(b"a: 1\nb: caf\xe9\n")
        assert (error.line, error.column) == (2, 7)
        assert "byte 0xe9 at offset 11" in str(error)

    def test_utf_16_is_refused(self, refusal):
        assert "is not UTF-8" in str(refusal("a: 1\n".encode("utf-16")))

    @pytest.mark.parametrize(
        ("content", "advice"),
        [
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "git lfs pull"),
            (b"\n<!DOCTYPE html><html></html>", "fetch the raw file"),
        ],
    )
    def test_file_of_another_kind(self, refusal, content, advice):
        assert advice in str(refusal(content))

    def test_hostile_text_is_escaped_in_the_message(self, refusal):
        error = refusal('"a\\nb\\e[31m": 1\n"a\\nb\\e[31m": 2\n')
        assert "\\n" in str(error)
        assert "\x1b" not in str(error)


class TestFiles:
    def test_missing_file(self, tmp_path):
        with pytest.raises(PlaybookError, match="no such playbook"):
            load_yaml(tmp_path / "absent.playbook.yaml")

    def test_folder(self, tmp_path):
        with pytest.raises(PlaybookError, match="is a folder"):
            load_yaml(tmp_path)

    def test_pipe_does_not_block(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(PlaybookError, match="not a regular file"):
            load_yaml(tmp_path / "pipe")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
    def test_file_without_permission(self, tmp_path):
        path = tmp_path / "x.playbook.yaml"
        path.write_text("a: 1\n")
        path.chmod(0)
        with pytest.raises(PlaybookError, match="cannot be read"):
            load_yaml(path)

    @pytest.mark.parametrize("name", ["nul\0byte", "x" * 5000])
    def test_impossible_path(self, tmp_path, name):
        with pytest.raises(PlaybookError) as caught:
            load_yaml(tmp_path / name)
        assert len(str(caught.value).splitlines()) == 1

    def test_sha256_is_that_of_the_bytes(self, load):
        digest = "a2a79ea37edb1963efaae29281523ab441a8a99df048d204f22f3f413e325afc"
        assert load(b"name: x\n").sha256 == digest


class TestLimits:
    def test_file_of_just_the_size_limit_loads(self, load):
        content = b"a: 1\n#" + b"x" * (MAX_BYTES - 7) + b"\n"
        assert len(content) == MAX_BYTES
        assert load(content).data == {"a": 1}

    def test_one_byte_more_is_refused(self, refusal):
        assert f"limit {MAX_BYTES} bytes (found {MAX_BYTES + 1} bytes)" in str(refusal(b"#" * (MAX_BYTES + 1)))

    def test_ten_megabytes_are_refused_without_reading_them(self, tmp_path):
        path = tmp_path / "x.playbook.yaml"
        with path.open("wb") as stream:
            stream.truncate(10_000_000)
        with pytest.raises(PlaybookError, match="larger than a playbook may be"):
            load_yaml(path)

    def test_file_that_grows_after_it_was_measured(self, refusal, monkeypatch):
        fields = list(os.stat(__file__))
        fields[6] = 1  # st_size
        monkeypatch.setattr(Path, "stat", lambda self: os.stat_result(fields))
        assert "larger than a playbook may be" in str(refusal(b"#" * (MAX_BYTES + 1)))

    @pytest.mark.parametrize("opening", ["[", "{a: "])
    def test_nesting_to_the_limit(self, load, refusal, opening):
        closing = {"[": "]", "{a: ": "}"}[opening]
        load(opening * MAX_DEPTH + "1" + closing * MAX_DEPTH)
        error = refusal(opening * (MAX_DEPTH + 1) + "1" + closing * (MAX_DEPTH + 1))
        assert f"nested too deeply, limit {MAX_DEPTH} levels" in str(error)

    @pytest.mark.parametrize("opening", ["[", "{", "- ", "? ", "{a: "])
    def test_bottomless_nesting_is_refused_quickly(self, refusal, opening):
        started = time.perf_counter()
        refusal(opening * (MAX_BYTES // len(opening)))
        assert time.perf_counter() - started < 10

    def test_number_of_values_to_the_limit(self, load, refusal):
        assert len(load("[" + "1," * (MAX_NODES - 1) + "]").data) == MAX_NODES - 1
        assert f"too many values, limit {MAX_NODES}" in str(refusal("[" + "1," * MAX_NODES + "]"))

    def test_digits_of_a_number_to_the_limit(self):
        assert number_of("9" * MAX_DIGITS) == int("9" * MAX_DIGITS)
        assert number_of("9" * (MAX_DIGITS + 1)) is None
        assert plain_value("9" * 5000) == "9" * 5000


class TestScalars:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1e-5", 1e-5),
            ("1e3", 1000.0),
            ("1.5", 1.5),
            (".5", 0.5),
            ("-3", -3),
            ("+3", 3),
            ("0", 0),
            ("true", True),
            ("False", False),
            ("null", None),
            ("~", None),
        ],
    )
    def test_numbers_booleans_and_null(self, text, value):
        assert plain_value(text) == value
        assert type(plain_value(text)) is type(value)

    @pytest.mark.parametrize(
        "text",
        [
            "no",
            "yes",
            "on",
            "off",
            "12:30:45",
            "2026-01-31",
            "017",
            "0x1f",
            "1_000",
            ".inf",
            "-.inf",
            ".nan",
            "1e999",
            "=",
        ],
    )
    def test_what_yaml_1_1_would_change_stays_text(self, load, text):
        assert load(f"a: {text}\n").data == {"a": text}

    @pytest.mark.parametrize("text", ["1e-5", "true", "null", "12"])
    def test_quoted_scalars_are_text(self, load, text):
        assert load(f"a: '{text}'\nb: \"{text}\"\n").data == {"a": text, "b": text}

    def test_block_text(self, load):
        assert load("a: |\n  true\n  line\n").data == {"a": "true\nline\n"}

    def test_empty_file_and_comment_only(self, load):
        assert load("").data is None
        assert load("# nothing\n").data is None

    def test_byte_order_mark_and_windows_line_ends(self, load):
        assert load(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n").data == {"a": 1, "b": 2}

    def test_positions(self, load):
        loaded = load("a: 1\nb:\n  - x\n  - c: 2\n")
        assert loaded.where(("a",)) == (1, 1)
        assert loaded.where(("b", 1)) == (4, 5)
        assert loaded.where(("b", 1, "c")) == (4, 5)
        assert loaded.where(("b", 1, "absent", "deeper")) == (4, 5)


def refusals(load, content):
    """Number of lines of the refusal; 0 if the content loads. Anything but a PlaybookError fails the test."""
    try:
        load(content)
    except PlaybookError as error:
        return len(str(error).splitlines())
    return 0


yaml_like = st.text(
    alphabet=st.sampled_from(list("abn:-?,[]{}&*!|>'\"%@`#~\\ \t\n\r0123456789.e<=_\u00e9\ufeff\x00\x85")), max_size=80
)


class TestAnything:
    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.one_of(
            st.binary(max_size=200),
            yaml_like.map(str.encode),
            st.text(max_size=80).map(lambda t: t.encode("utf-8", "surrogatepass")),
        )
    )
    def test_random_bytes_load_or_are_refused_in_one_line(self, load, content):
        assert refusals(load, content) in (0, 1)

    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(text=yaml_like)
    def test_the_pure_python_parser_is_as_safe(self, load, text):
        import yaml

        with pytest.MonkeyPatch.context() as patch:
            patch.delattr(yaml, "CSafeLoader", raising=False)
            assert refusals(load, text) in (0, 1)
