import pytest

from pytest_aprqa.oracles.token_soup import soup_reason


@pytest.mark.parametrize(
    "text",
    [
        "olumbia+lsi nunca/localENTS",
        "ictiONAL yerRESSION bazuTTO",
        "helloпривет мирworld тестtest",
        "Αθήναcity gooddayΚαλημέρα nightΝύχτα",
        "aBcDeFgH iJkLmN oPqRsT",
        "TheĠcapitalĠofĠFrance",
        "▁The▁capital▁of▁France",
        "Hello<0x0A><0xE4><0xBD>",
    ],
)
def test_soup_is_named(text):
    assert soup_reason(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "The capital of France is Paris.",
        "JavaScript, TypeScript, CoffeeScript",
        "McDonald and MacArthur visited LaTeX and YouTube",
        "getElementById innerText setAttribute removeChild",
        "HTTPServer XMLParser JSONEncoder",
        "Θέλω Москва Paris",
        "Il-belt Ġgantija hija f'Għawdex",
        "iPhone and iPad",
        "snake_caseNAME",
        "ναι",
    ],
)
def test_names_identifiers_and_other_scripts_are_no_soup(text):
    assert soup_reason(text) is None


def test_more_than_three_tenths_of_the_words_must_be_mixed():
    mixed, plain = "localENTS ", "ordinary "
    assert soup_reason(mixed * 3 + plain * 7) is None
    assert soup_reason(mixed * 4 + plain * 7) is not None


def test_fewer_than_three_words_say_nothing():
    assert soup_reason("localENTS nunca") is None
    assert soup_reason("localENTS nunca palabra") is not None


@pytest.mark.parametrize(("word", "mixed"), [("localEN", False), ("localENT", True)])
def test_three_capitals_after_small_letters_mix_case(word, mixed):
    assert (soup_reason(f"{word} {word} {word}") is not None) is mixed


@pytest.mark.parametrize(("word", "mixed"), [("abCdEf", True), ("abcDefGhi", False)])
def test_humps_of_fewer_than_three_letters_mix_case(word, mixed):
    assert (soup_reason(f"{word} {word} {word}") is not None) is mixed


@pytest.mark.parametrize(("text", "found"), [("aĠbĠc", False), ("aĠbĠcĠd", True)])
def test_three_undecoded_marks_are_soup(text, found):
    assert (soup_reason(text) is not None) is found


def test_code_between_backticks_is_not_looked_at():
    assert soup_reason("```\nparseJSON toHTML someURL\n```") is None
    assert soup_reason("parseJSON toHTML someURL") is not None
