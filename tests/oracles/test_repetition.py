import pytest

from pytest_aprqa.oracles.repetition import is_repetitive


@pytest.mark.parametrize(
    ("text", "repetitive"),
    [
        ("ababab", True),  # three copies
        ("abab", False),  # two
        ("ababababXXX", True),  # 8 of 11: 72 %
        ("abababXXXX", False),  # 6 of 10: 60 %
        ("abababX", True),  # 6 of 7: 85 %
        ("xyzxyzxyz", True),
        ("abcdefghijklmnopqrst" * 3, True),  # a period of 20 bytes
        ("abcdefghijklmnopqrstu" * 3, False),  # of 21
        ("aaaaa", False),  # five bytes
        ("aaaaaa", True),  # six
        ("the cat VILLEVILLEVILLE", True),  # a word inside a text
        ("the cat VILLEVILLE", False),
        ("да" * 3, True),
        (" for for for5", True),  # the space in front is part of the first token
        ("\n\n\n\n\n\n\n\n4", False),
        ("            x", False),
    ],
)
def test_copies_of_a_short_period(text, repetitive):
    assert is_repetitive(text) is repetitive


LONG = "internationalizations"  # longer than the longest period of bytes, so that only words are compared


@pytest.mark.parametrize(
    ("text", "repetitive"),
    [
        (" ".join([LONG] * 5), True),  # five words all equal
        (" ".join([LONG] * 4), False),  # four
        (f"{LONG} it " * 3, True),  # three of three pairs
        (f"{LONG} it " * 2 + f"{LONG} on", False),  # two of three
        (f"{LONG} it " * 3 + f"{LONG} and", True),  # three of four: 75 %
        (f"{LONG} it " * 3 + f"a {LONG} b c", False),  # three of five: 60 %
        ("The answer to this question is", False),
    ],
)
def test_words_again_and_again(text, repetitive):
    assert is_repetitive(text) is repetitive


@pytest.mark.parametrize(
    ("text", "repetitive"),
    [
        ("999999", False),
        ("\n999999\n", False),
        (" 999999", False),
        ("1" * 15, False),
        ("1" * 16, True),
        ("121212.", False),
        ("-333333", False),
        ("(444444)", False),
        ("1,111,111", False),
        ("-----", False),
        ("word -------- word", False),
        ("=" * 40 + " text", True),  # nothing else
        ("A heading of five words\n" + "=" * 23, False),
    ],
)
def test_numbers_up_to_15_digits_and_rulers_are_no_repetition(text, repetitive):
    assert is_repetitive(text) is repetitive
