"""Which engine runs what; without a GPU the reason is told."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pytest_aprqa.engines import plugins, selection
from pytest_aprqa.engines.errors import EngineUnavailable
from pytest_aprqa.engines.plugins import EngineChoiceError, EnginePlugin, all_engines, parse_choices
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
def test_every_format_runs_on_torch_on_the_cpu(no_llama: None, format_name: str) -> None:
    assert engine_for(format_name, "cpu") == "torch"


def test_gpu_cells_run_on_the_gpu_engine_where_there_is_a_device(driver: Any, no_llama: None) -> None:
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


@pytest.fixture
def no_llama(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins.importlib.util, "find_spec", lambda name: None)


@pytest.fixture
def llama(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins.importlib.util, "find_spec", lambda name: ModuleSpec(name, None, origin="llama"))


def test_apr_program_runs_apr_and_what_it_is_named_for(no_llama: None) -> None:
    assert engine_for("apr", "cpu", apr_binary="/opt/apr") == "apr?backend=cpu&binary=%2Fopt%2Fapr"
    assert engine_for("gguf", "cpu", apr_binary="/opt/apr") == "torch"
    assert engine_for("gguf", "cpu", engine=["apr"]) == "apr?backend=cpu&binary=apr"
    assert engine_for("apr", "cpu", apr_binary="/opt/apr", engine=["torch"]) == "torch"
    assert engine_for("apr", "cpu", apr_binary="/opt/apr", engine=["torch", "apr=apr"]).startswith("apr?")
    assert engine_for("gguf", "cpu", engine=["apr=apr"]) == "torch"


def test_llama_is_preferred_for_gguf_where_it_is_installed(llama: None) -> None:
    assert engine_for("gguf", "cpu") == "llama?backend=cpu"
    assert engine_for("apr", "cpu") == engine_for("safetensors", "cpu") == "torch"
    assert engine_for("gguf", "cpu", engine=["torch"]) == "torch"
    with pytest.raises(EngineUnavailable, match="the engine llama does not run apr, only gguf"):
        engine_for("apr", "cpu", engine=["llama"])


def test_llama_that_is_not_installed_says_what_to_install(no_llama: None) -> None:
    assert engine_for("gguf", "cpu") == "torch"
    with pytest.raises(EngineUnavailable, match=r"install pytest-aprqa\[llama\]"):
        engine_for("gguf", "cpu", engine=["gguf=llama"])


def test_folder_named_llama_cpp_on_the_path_is_no_llama(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "llama_cpp").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert engine_for("gguf", "cpu") == "torch"


def test_server_of_somebody_else_runs_everything_that_has_no_engine_of_its_own(no_llama: None) -> None:
    address = "http://127.0.0.1:1"
    assert engine_for("gguf", "gpu", engine_url=address) == "url?backend=gpu&url=http%3A%2F%2F127.0.0.1%3A1"
    assert engine_for("apr", "cpu", engine_url=address, engine=["apr=torch"]) == "torch"
    with pytest.raises(EngineUnavailable, match="--engine-url"):
        engine_for("apr", "cpu", engine=["url"])


def test_engines_of_plugins_are_chosen_by_name_or_by_preference(no_llama: None) -> None:
    mine = EnginePlugin("mine", "my.module:Engine", ("gguf",), preferred_for=("gguf",))
    absent = EnginePlugin("absent", "x:Y", missing=lambda: "no licence", preferred_for=("apr",))
    assert engine_for("gguf", "cpu", plugins=[mine, absent]) == "my.module:Engine?backend=cpu"
    assert engine_for("apr", "cpu", plugins=[mine, absent]) == "torch"
    with pytest.raises(EngineUnavailable, match="absent cannot run here: no licence"):
        engine_for("apr", "cpu", engine=["absent"], plugins=[absent])
    with pytest.raises(EngineUnavailable, match="mine does not run on gpu, only on cpu"):
        engine_for("gguf", "gpu", plugins=[mine])


@pytest.mark.parametrize(
    ("words", "problem"),
    [(["nothing"], "found engine 'nothing', known: torch, llama, apr, url"), (["onnx=torch"], "found format 'onnx'")],
)
def test_unknown_names_are_refused(words: list[str], problem: str) -> None:
    with pytest.raises(EngineChoiceError, match=problem):
        parse_choices(words, all_engines())


@pytest.mark.parametrize("added", [EnginePlugin("torch", "my:Torch"), "my:Torch"])
def test_plugin_may_not_take_a_name_or_be_something_else(added: Any) -> None:
    with pytest.raises(EngineChoiceError, match=r"the name is taken|an EnginePlugin is needed"):
        all_engines([added])


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

    names = [BUILT_IN["torch"], BUILT_IN["apr"], "pytest_aprqa.engines.torch_engine:TorchGpuEngine"]
    for module, _, attribute in (name.partition(":") for name in names):
        assert callable(getattr(importlib.import_module(module), attribute))
