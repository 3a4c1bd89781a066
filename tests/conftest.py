"""Shared registration: fixtures that every room needs live in `model_fixtures.py`.

Hypothesis draws the same examples each time and no machine is too slow; `--hypothesis-profile=explore` draws new ones.
"""

import importlib.util

pytest_plugins = ["pytester", "tests.model_fixtures"]

# `make demo` reads this file, too, where nothing that only tests need is installed.
if importlib.util.find_spec("hypothesis") is not None:
    from hypothesis import settings

    settings.register_profile("repeatable", deadline=None, derandomize=True)
    settings.register_profile("explore", deadline=None)
    settings.load_profile("repeatable")
