"""Which engine runs a format on a backend, decided without importing torch in the calling process."""

from __future__ import annotations

import os
from pathlib import Path

from pytest_aprqa.engines.errors import EngineUnavailable

DEVICE_FILES = ("/dev/nvidia0", "/dev/nvidiactl")


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


def engine_for(format_name: str, backend: str, *, apr_binary: str | None = None) -> str:
    """Name of the engine for (format, backend). EngineUnavailable with the reason when nothing can run it."""
    if apr_binary is not None and format_name == "apr":
        raise EngineUnavailable(
            f"--apr-binary {apr_binary}: this version has no engine for the apr program; leave the option out to run"
            " APR files on torch"
        )
    if backend == "gpu" and (problem := gpu_problem()) is not None:
        raise EngineUnavailable(problem)
    return "torch" if backend == "cpu" else "pytest_aprqa.engines.torch_engine:TorchGpuEngine"
