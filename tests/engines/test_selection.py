"""Which engine runs what; without a GPU the reason is told."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from pytest_aprqa.engines import selection
from pytest_aprqa.engines.errors import EngineUnavailable
from pytest_aprqa.engines.selection import engine_for, gpu_problem


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Installs a `pynvml` that sees so many devices, or raises."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(count: int | Exception) -> None:
        def devices() -> int:
            if isinstance(count, Exception):
                raise count
            return count

        library: Any = ModuleType("pynvml")
        library.__dict__.update(nvmlInit=lambda: None, nvmlShutdown=lambda: None, nvmlDeviceGetCount=devices)
        monkeypatch.setitem(sys.modules, "pynvml", library)

    return install


@pytest.mark.parametrize("format_name", ["safetensors", "apr", "gguf"])
def test_every_format_runs_on_torch_on_the_cpu(format_name: str) -> None:
    assert engine_for(format_name, "cpu") == "torch"


def test_gpu_cells_run_on_the_gpu_engine_where_there_is_a_device(driver: Any) -> None:
    driver(1)
    assert gpu_problem() is None
    assert engine_for("gguf", "gpu").endswith(":TorchGpuEngine")


@pytest.mark.parametrize(
    ("found", "reason"), [(0, "the driver sees no device"), (RuntimeError("NVML not found"), "NVML not found")]
)
def test_gpu_cells_without_a_device_are_unavailable_with_the_reason(driver: Any, found: Any, reason: str) -> None:
    driver(found)
    with pytest.raises(EngineUnavailable, match=f"no GPU: .*{reason}"):
        engine_for("safetensors", "gpu")


@pytest.mark.parametrize(("visible", "hidden"), [("", True), ("-1", True), (" ", True), ("0", False), ("GPU-1", False)])
def test_devices_hidden_by_the_environment_are_no_devices(
    driver: Any, monkeypatch: pytest.MonkeyPatch, visible: str, hidden: bool
) -> None:
    driver(1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    problem = gpu_problem()
    assert (problem is not None) == hidden
    if problem is not None:
        assert "CUDA_VISIBLE_DEVICES" in problem


@pytest.mark.parametrize("present", [True, False])
def test_without_the_drivers_library_device_files_decide(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, present: bool
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    device = tmp_path / "nvidia0"
    if present:
        device.touch()
    monkeypatch.setattr(selection, "DEVICE_FILES", (str(device),))
    assert (gpu_problem() is None) == present


def test_apr_program_is_refused_as_not_available_for_apr_only() -> None:
    with pytest.raises(EngineUnavailable, match="--apr-binary /opt/apr"):
        engine_for("apr", "cpu", apr_binary="/opt/apr")
    assert engine_for("gguf", "cpu", apr_binary="/opt/apr") == "torch"


def test_choosing_an_engine_does_not_import_torch() -> None:
    code = (
        "import sys; from pytest_aprqa.engines.selection import engine_for; engine_for('apr', 'cpu');"
        " import pytest_aprqa.engines.host; print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_engines_by_their_short_names_exist() -> None:
    import importlib

    from pytest_aprqa.engines.child import BUILT_IN

    names = [*BUILT_IN.values(), "pytest_aprqa.engines.torch_engine:TorchGpuEngine"]
    for module, _, attribute in (name.partition(":") for name in names):
        assert callable(getattr(importlib.import_module(module), attribute))
