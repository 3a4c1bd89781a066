"""The bundled folder, and the one-line form of this room's errors."""

from __future__ import annotations

from pytest_aprqa.models import bundled
from pytest_aprqa.models.bundled import bundled_folder
from pytest_aprqa.models.errors import ModelError, ModelNotFound


def test_in_a_checkout_the_root_is_the_bundle():
    assert (bundled_folder() / "playbooks").is_dir()


def test_in_a_wheel_the_package_carries_the_bundle(tmp_path, monkeypatch):
    (tmp_path / "pytest_aprqa" / "_bundled").mkdir(parents=True)
    monkeypatch.setattr(bundled, "PACKAGE", tmp_path / "pytest_aprqa")
    assert bundled_folder() == tmp_path / "pytest_aprqa" / "_bundled"


def test_an_error_is_one_line_with_place_facts_and_advice():
    error = ModelError("m/config.json", "vocab_size", "is\nwrong", found=0, limit=">= 1", advice="fetch it\nagain")
    assert str(error) == "m/config.json: vocab_size: is wrong (found 0, limit >= 1); fetch it again"
    assert (error.path, error.where, error.found, error.limit) == ("m/config.json", "vocab_size", 0, ">= 1")
    assert str(ModelError("m", "", "is wrong")) == "m: is wrong"


def test_model_not_found_keeps_its_parts():
    error = ModelNotFound("a/b", ["x (does not exist)", "y (cannot be read)"], "hf download a/b")
    assert isinstance(error, ModelError)
    assert str(error) == (
        "a/b: model not found; looked at: x (does not exist); y (cannot be read); get it with: hf download a/b"
    )
