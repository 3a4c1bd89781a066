"""Which engine runs a format on a backend, decided without importing torch in the calling process."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlencode

from pytest_aprqa.engines.errors import EngineUnavailable
from pytest_aprqa.engines.plugins import EnginePlugin, all_engines, parse_choices

DEVICE_FILES = ("/dev/nvidia0", "/dev/nvidiactl")
TORCH_GPU = "pytest_aprqa.engines.torch_engine:TorchGpuEngine"


def gpu_problem() -> str | None:
    """Why there is no GPU to run on, or None. Looks at CUDA_VISIBLE_DEVICES, device files and the driver's library."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1", "NoDevFiles"):
        return f"no GPU: CUDA_VISIBLE_DEVICES is {visible!r}"
    try:
        import pynvml

        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        pynvml.nvmlShutdown()
    except ImportError:
        if any(Path(name).exists() for name in DEVICE_FILES):
            return None
        return "no GPU: this machine has no NVIDIA device"
    except Exception as error:  # pynvml raises its own hierarchy
        return f"no GPU: no CUDA device is visible ({error})"
    return None if count else "no GPU: the driver sees no device"


def engine_for(
    format_name: str,
    backend: str,
    *,
    apr_binary: str | None = None,
    engine_url: str | None = None,
    engine: Sequence[str] | None = None,
    plugins: Iterable[EnginePlugin] = (),
) -> str:
    """What EngineHost starts for (format, backend): a short name or `module:Class`, with options after `?`.

    In this order: the engine that `--engine` names, the server of `--engine-url`, for APR the program of
    `--apr-binary`, an engine that prefers the format and can run here, torch. EngineUnavailable with the reason.
    """
    engines = all_engines(plugins)
    chosen = parse_choices(engine or (), engines).get(format_name)
    if chosen is None:
        chosen = _by_default(format_name, engines, apr_binary, engine_url)
    found = engines[chosen]
    if format_name not in found.formats:
        raise EngineUnavailable(f"the engine {chosen} does not run {format_name}, only {', '.join(found.formats)}")
    if backend not in found.backends:
        raise EngineUnavailable(f"the engine {chosen} does not run on {backend}, only on {', '.join(found.backends)}")
    if (problem := found.missing()) is not None:
        raise EngineUnavailable(f"the engine {chosen} cannot run here: {problem}")
    if backend == "gpu" and chosen != "url" and (problem := gpu_problem()) is not None:
        raise EngineUnavailable(problem)
    return _started_as(found, backend, apr_binary, engine_url)


def _by_default(
    format_name: str, engines: dict[str, EnginePlugin], apr_binary: str | None, engine_url: str | None
) -> str:
    if engine_url is not None:
        return "url"
    if apr_binary is not None and format_name == "apr":
        return "apr"
    preferring = (e.name for e in reversed(engines.values()) if format_name in e.preferred_for and not e.missing())
    return next(preferring, "torch")


def _started_as(found: EnginePlugin, backend: str, apr_binary: str | None, engine_url: str | None) -> str:
    if found.name == "torch":
        return "torch" if backend == "cpu" else TORCH_GPU
    options = {"backend": backend}
    if found.name == "apr":
        # Without --apr-binary the program is looked for on PATH.
        options["binary"] = apr_binary or "apr"
    elif found.name == "url":
        if engine_url is None:
            raise EngineUnavailable("the engine url needs --engine-url, the address of an OpenAI-compatible server")
        options["url"] = engine_url
    name = found.name if found.name in ("llama", "apr", "url") else found.target
    return f"{name}?{urlencode(options)}"
