"""Qualifies language-model artifacts: a pytest plugin and the checks, engines and reports around it."""

__version__ = "0.1.0"
