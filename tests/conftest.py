"""Shared registration: fixtures that every room needs live in `model_fixtures.py`.

Hypothesis draws the same examples each time and no machine is too slow; `--hypothesis-profile=explore` draws new ones.
"""

from hypothesis import settings

pytest_plugins = ["pytester", "tests.model_fixtures"]

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("repeatable")
