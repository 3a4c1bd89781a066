import pytest

from pytest_aprqa.oracles.text_cleaning import cleaned, without_banners, without_colours

# As printed by the released `apr run` (text form).
BANNER = "=== APR Run ===\n\nSource: mini-llama.apr\n\nOutput:\n{}\n\nCompleted in 0.01s (cached)\n"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("\x1b[1;32mgreen\x1b[0m", "green"),
        ("\x1b[2K\x1b[1Gline", "line"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("plain [0m text", "plain [0m text"),
        ("", ""),
    ],
)
def test_terminal_colours_are_taken_off(text, plain):
    assert without_colours(text) == plain


def test_other_control_characters_stay_so_that_they_are_seen():
    assert without_colours("\x7f\x00") == "\x7f\x00"


@pytest.mark.parametrize("text", ["4", "two\n\nlines", "Output:\n4", "4\n\nCompleted in time", ""])
def test_the_generated_text_stands_between_the_banners(text):
    assert without_banners(BANNER.format(text)) == text


def test_a_banner_without_output_leaves_nothing_to_judge():
    assert without_banners("=== APR Run ===\n\nSource: m.apr\n\n13217.7 tok/s\n") == ""


@pytest.mark.parametrize("text", ["Source: a book", "=== A heading ===\ntext", "Output:\n4", "It runs at 4 tok/s."])
def test_text_of_a_model_is_left_alone(text):
    assert cleaned(text) == text


def test_colours_are_taken_off_before_banners():
    assert cleaned("\x1b[1m" + BANNER.format("4").replace("===\n", "===\x1b[0m\n", 1)) == "4"
