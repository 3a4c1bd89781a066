import pytest

from pytest_aprqa.scoring.status import status_of


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (0, "BLOCKED"),
        (699, "BLOCKED"),
        (700, "PROVISIONAL"),
        (849, "PROVISIONAL"),
        (850, "CERTIFIED"),
        (880, "CERTIFIED"),
        (1000, "CERTIFIED"),
    ],
)
def test_the_raw_score_decides_when_gateways_passed_and_nothing_is_missing(raw, status):
    assert status_of(raw, gateways_passed=True, complete=True) == status


@pytest.mark.parametrize("raw", [0, 700, 1000])
def test_a_failed_gateway_blocks_whatever_the_score(raw):
    assert status_of(raw, gateways_passed=False, complete=True) == "BLOCKED"


@pytest.mark.parametrize(("raw", "status"), [(699, "BLOCKED"), (700, "PROVISIONAL"), (1000, "PROVISIONAL")])
def test_an_incomplete_score_is_never_certified(raw, status):
    assert status_of(raw, gateways_passed=True, complete=False) == status
