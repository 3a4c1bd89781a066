"""Lifecycle errors print as one line that names the place, the fact and the way out."""

from __future__ import annotations

from pathlib import Path

from pytest_aprqa.lifecycle.errors import LifecycleError


def test_error_names_everything_in_one_line() -> None:
    error = LifecycleError(
        Path("m/config.json"), "rope", "cannot\nbe kept", found="yarn", limit="default", advice="do x"
    )
    assert str(error) == "m/config.json: rope: cannot be kept (found yarn, limit default); do x"
    assert (error.where, error.found, error.limit, error.advice) == ("rope", "yarn", "default", "do x")


def test_error_leaves_out_what_is_not_known() -> None:
    assert str(LifecycleError("m", "w", "p")) == "m: w: p"
    assert str(LifecycleError("m", "w", "p", found=0)) == "m: w: p (found 0)"
