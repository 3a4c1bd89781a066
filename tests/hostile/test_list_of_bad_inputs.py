"""The list of 54 bad inputs is complete: each has a hostile file here, or a test elsewhere that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.hostile.all_cases import CASES

TESTS = Path(__file__).resolve().parents[1]
# What is not a file to be read: number -> what it is, and the test that has it.
ELSEWHERE = {
    42: ("values that are NaN, infinite or all zero", "plugin/test_bad_models.py", "test_each_fault_is_one_finding"),
    45: ("a file that changes", "hostile/test_bad_days.py", "test_a_file_that_changes_has_another_digest"),
    46: ("an engine that ends by a signal", "engines/test_host.py", "test_death_while_generating_is_a_crash"),
    47: ("an engine that hangs", "engines/test_host.py", "test_time_out_kills_the_whole_group"),
    48: ("a full GPU", "hostile/test_bad_days.py", "test_a_full_gpu_is_one_line_and_the_engine_lives"),
    49: ("logits that are NaN", "engines/test_torch_engine.py", "test_nan_in_the_weights_is_an_engine_error"),
    50: ("a port that is taken", "engines/test_server.py", "test_port_that_is_taken_is_one_line"),
    51: ("a server that is never ready", "hostile/test_bad_days.py", "test_a_server_that_is_never_ready_ends"),
    52: ("a stream that ends in the middle", "engines/test_url_engine.py", "test_bad_streams_are_errors"),
    53: ("characters cut between two chunks", "hostile/test_bad_days.py", "test_a_character_cut_between_two_pieces"),
    54: ("a disk that is full", "plugin/test_bad_input.py", "test_full_disk_ends_the_run_with_one_message"),
}


def test_every_number_has_its_place() -> None:
    numbers = {case.number for case in CASES if case.number is not None}
    assert not numbers & set(ELSEWHERE)
    assert numbers | set(ELSEWHERE) == set(range(1, 55))


@pytest.mark.parametrize("number", ELSEWHERE)
def test_tests_that_are_elsewhere_exist(number: int) -> None:
    _, file, name = ELSEWHERE[number]
    assert re.search(rf"^def {name}", (TESTS / file).read_text(encoding="utf-8"), re.MULTILINE)
