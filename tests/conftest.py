"""Shared registration: fixtures that every room needs live in `model_fixtures.py`."""

pytest_plugins = ["pytester", "tests.model_fixtures"]
