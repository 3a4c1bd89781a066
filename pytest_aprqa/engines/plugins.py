"""The engines that there are: the built-in ones and those that plugins add, as plain facts; no engine is imported."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass

ENTRY_POINT = "pytest_aprqa.engines"
FORMATS = ("safetensors", "apr", "gguf")


def _always() -> None:
    return None


@dataclass(frozen=True, slots=True)
class EnginePlugin:
    """An engine by name. `target` is `module:Class`, imported in the child process only.

    The class takes `threads` and `backend` and follows `pytest_aprqa.engines.protocol.Engine`. `missing` says why it
    cannot run on this machine, or None. `preferred_for` are formats that it runs without being named, when it can.
    """

    name: str
    target: str
    formats: tuple[str, ...] = FORMATS
    backends: tuple[str, ...] = ("cpu",)
    preferred_for: tuple[str, ...] = ()
    missing: Callable[[], str | None] = _always


def _llama_missing() -> str | None:
    specification = importlib.util.find_spec("llama_cpp")
    # A mere folder of that name on the path, such as one of tests, is found as a package without an origin.
    if specification is None or specification.origin is None:
        return "llama-cpp-python is not installed; install pytest-aprqa[llama]"
    return None


BUILT_IN = (
    EnginePlugin("torch", "pytest_aprqa.engines.torch_engine:TorchEngine", backends=("cpu", "gpu")),
    EnginePlugin(
        "llama",
        "pytest_aprqa.engines.llama_engine:LlamaEngine",
        formats=("gguf",),
        backends=("cpu", "gpu"),
        preferred_for=("gguf",),
        missing=_llama_missing,
    ),
    EnginePlugin("apr", "pytest_aprqa.engines.apr_engine:AprEngine", backends=("cpu", "gpu")),
    EnginePlugin("url", "pytest_aprqa.engines.url_engine:UrlEngine", backends=("cpu", "gpu")),
)


class EngineChoiceError(ValueError):
    """`--engine` names an engine or a format that does not exist, or an engine of a plugin cannot be used."""


def all_engines(added: Iterable[EnginePlugin] = ()) -> dict[str, EnginePlugin]:
    """Engines by name, the built-in ones first. EngineChoiceError when an added one takes a name that is taken."""
    engines = {engine.name: engine for engine in BUILT_IN}
    for engine in added:
        if not isinstance(engine, EnginePlugin):
            raise EngineChoiceError(f"an engine plugin gave {engine!r}, an EnginePlugin is needed")
        known = engines.get(engine.name)
        if known is not None and known is not engine:
            raise EngineChoiceError(f"engine {engine.name!r} of {engine.target}: the name is taken by {known.target}")
        engines[engine.name] = engine
    return engines


def parse_choices(words: Iterable[str], engines: Iterable[str]) -> dict[str, str]:
    """Engine by format from `NAME` (every format) and `FORMAT=NAME` words; the later and the more precise win.

    EngineChoiceError for unknown names.
    """
    names = list(engines)
    everywhere: dict[str, str] = {}
    precise: dict[str, str] = {}
    for word in words:
        format_name, equals, name = word.rpartition("=")
        if equals and format_name not in FORMATS:
            raise EngineChoiceError(f"--engine {word}: found format {format_name!r}, known: {', '.join(FORMATS)}")
        if name not in names:
            raise EngineChoiceError(f"--engine {word}: found engine {name!r}, known: {', '.join(names)}")
        if equals:
            precise[format_name] = name
        else:
            everywhere = dict.fromkeys(FORMATS, name)
    return everywhere | precise
