"""An answer ends before the first stop text, and nothing of a stop text is shown before it is known to be none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aprqa.engines.stop_sequences import StopSequences

SMALL = st.text("ab\n", max_size=12)


@pytest.mark.parametrize(
    ("stops", "text", "cut", "settled"),
    [
        ([], "abc", "abc", "abc"),
        (["c"], "abc", "ab", "ab"),
        (["bc"], "ab", "ab", "a"),
        (["bc"], "abb", "abb", "ab"),
        (["abc"], "xab", "xab", "x"),
        (["zz", "b"], "abz", "a", "a"),
        (["aa"], "aaa", "", ""),
        (["xyx"], "axy", "axy", "a"),
    ],
)
def test_cut_and_settled(stops, text, cut, settled):
    stop = StopSequences(stops)
    assert (stop.cut(text), stop.settled(text)) == (cut, settled)
    assert stop.found(text) == (cut != text)


@given(st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=4), st.lists(SMALL, max_size=8))
def test_what_was_shown_is_never_taken_back(stops, pieces):
    stop, text, shown = StopSequences(stops), "", ""
    for piece in pieces:
        text += piece
        settled = stop.settled(text)
        assert settled.startswith(shown)
        shown = settled
        assert not stop.found(shown)
        if stop.found(text):
            break
    final = stop.cut(text)
    assert final.startswith(shown)
    assert not stop.found(final)
