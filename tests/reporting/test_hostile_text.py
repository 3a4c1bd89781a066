import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pytest_aprqa.reporting.hostile_text import (
    columns,
    fitted,
    for_terminal,
    for_xml,
    markdown_block,
    markdown_code,
    markdown_text,
    one_line,
)

ANY_TEXT = st.text(alphabet=st.characters(), max_size=60)  # surrogates included
MARKUP_TEXT = st.text(alphabet="a0 `*_[]()<>&|~\\!#@$:/.w\n\t\r\"'-=+\x1b\x85\u2028", max_size=40)
TABLES = MarkdownIt("commonmark", {"html": True}).enable("table")


def visible_text(markdown):
    """The text that a renderer shows, and the set of tags it makes."""
    html = TABLES.render(markdown)
    return html, set(re.findall(r"<([a-z0-9]+)", html))


@given(ANY_TEXT)
@example("\x1b[31m\x7f\x00\ud800\ufffe")
def test_any_text_becomes_well_formed_xml(text):
    cleaned = for_xml(text)
    element = ET.Element("a", b=cleaned)
    element.text = cleaned
    parsed = ET.fromstring(ET.tostring(element, encoding="utf-8"))
    assert (parsed.text or "") == cleaned


def test_characters_that_xml_forbids_stay_visible():
    assert for_xml("a\x1b[0m\x7f\x08\ud800\ufffe\r") == "a\\x1b[0m\\x7f\\x08\\ud800\\ufffe\\x0d"


@pytest.mark.parametrize(
    "kept", ["\t", "\n", " ", "~", "\xa0", "\ud7ff", "\ue000", "\ufffd", "\U00010000", "\U0010ffff"]
)
def test_characters_at_the_edges_of_legal_xml_stay(kept):
    assert for_xml(kept) == kept


@pytest.mark.parametrize("code", [0x00, 0x08, 0x0B, 0x0C, 0x1F, 0x7F, 0x9F, 0xD800, 0xDFFF, 0xFFFE, 0xFFFF])
def test_characters_just_outside_legal_xml_are_spelled(code):
    assert for_xml(chr(code)).startswith("\\")


@given(ANY_TEXT)
def test_a_terminal_line_holds_no_control_character(text):
    line = for_terminal(text)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]", line)
    assert for_terminal(text, unicode=False).isascii()


def test_colours_and_reordering_marks_are_spelled_out():
    assert for_terminal("\x1b[2Jevil\u202e") == "\\x1b[2Jevil\\u202e"


@given(MARKUP_TEXT)
@example("[x](http://evil)")
@example("<img src=x onerror=alert(1)>")
@example("a | b")
@example("\\|")
@example("**bold** _em_ `code` ~~gone~~")
def test_text_in_a_table_cell_stays_text_in_its_cell(text):
    table = f"| a | b |\n| --- | --- |\n| {markdown_text(text)} | end |\n"
    html, tags = visible_text(table)
    assert tags <= {"table", "thead", "tbody", "tr", "th", "td"}
    assert html.count("<td>") == 2


@given(MARKUP_TEXT)
@example("##")
@example("# heading")
@example("- item")
@example("+ item")
@example("1. item")
@example("2) item")
@example("- - -")
@example("===")
@example("    code")
@example(" # heading")
@example("\t1. item")
def test_text_at_the_start_of_a_line_is_a_paragraph(text):
    html, tags = visible_text(f"start\n\n{markdown_text(text)}\n\nend\n")
    assert tags == {"p"}
    assert html.startswith("<p>start</p>\n")
    assert html.endswith("<p>end</p>\n")


@given(MARKUP_TEXT)
@example("`` ` ``")
@example("</code><script>")
def test_code_in_a_table_cell_stays_code_in_its_cell(text):
    table = f"| a | b |\n| --- | --- |\n| {markdown_code(text)} | end |\n"
    html, tags = visible_text(table)
    assert tags <= {"table", "thead", "tbody", "tr", "th", "td", "code"}
    assert html.count("<td>") == 2
    assert html.count("<code>") == 1


@given(MARKUP_TEXT)
@example("```\n# heading\n```")
@example("~~~\n````\n</code></pre>")
def test_a_block_cannot_be_left_from_inside(text):
    html, tags = visible_text(f"{markdown_block(text)}\n\nafter\n")
    assert tags == {"pre", "code", "p"}
    assert html.endswith("<p>after</p>\n")


def test_snake_case_stays_readable():
    assert markdown_text("model.layers.0.self_attn.q_proj: 3 NaN") == "model.layers.0.self_attn.q_proj: 3 NaN"


@pytest.mark.parametrize(("limit", "shown"), [(5, "abcde"), (4, "a...")])
def test_a_text_is_cut_only_when_it_is_longer_than_the_limit(limit, shown):
    assert one_line("abcde", limit) == shown


def test_wide_characters_count_two_columns():
    assert columns("日本") == 4
    assert columns("e\u0301") == 1
    assert fitted("日本語", 6) == "日本語"
    assert fitted("日本語", 5) == "日..."


@given(ANY_TEXT, st.integers(min_value=0, max_value=30))
def test_a_fitted_line_never_exceeds_the_width(text, width):
    assert columns(fitted(one_line(text), width)) <= width
