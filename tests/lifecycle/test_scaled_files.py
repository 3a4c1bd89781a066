"""Derived files of models with rotary scaling: what they declare, what every path of formats keeps, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.lifecycle.conversion_paths import convert
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.lifecycle.rotary_scaling import GGUF_FAMILIES, NEEDED
from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.suite.same_model import compare_models
from tests.lifecycle.reshaped_families import DROPPED, FAMILIES, family_folder
from tests.model_fixtures import write_random_llama, write_random_qwen2

LINEAR: dict[str, Any] = {"rope_type": "linear", "factor": 4.0}
YARN: dict[str, Any] = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3: dict[str, Any] = {
    "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip
SHORT_LLAMA3 = LLAMA3 | {"factor": 8.0, "original_max_position_embeddings": 64}
SCALINGS = {"linear": LINEAR, "yarn": YARN, "llama3": LLAMA3}


def scaled(folder: Path, scaling: dict[str, Any], **more: Any) -> Path:
    changes = {"rope_scaling": scaling, "rope_theta": 500000.0, **more}
    write = write_random_qwen2 if scaling.get("rope_type") == "yarn" else write_random_llama
    return write(folder, changes=changes)


@pytest.mark.parametrize(
    ("scaling", "keys"),
    [
        (LINEAR, {"type": "linear", "factor": 4.0}),
        ({"type": "linear", "factor": 4}, {"type": "linear", "factor": 4.0}),
        ({"type": "linear", "factor": 1.0}, {}),
        (YARN, {"type": "yarn", "factor": 4.0, "original_context_length": 64}),
        (YARN | {"beta_fast": 32, "beta_slow": 1, "truncate": True, "mscale": None},
         {"type": "yarn", "factor": 4.0, "original_context_length": 64}),
        (YARN | {"attention_factor": 0.1 * np.log(4.0) + 1},
         {"type": "yarn", "factor": 4.0, "original_context_length": 64}),
        (YARN | {"attention_factor": 0.9},
         {"type": "yarn", "factor": 4.0, "original_context_length": 64, "attn_factor": 0.9 / (0.1 * np.log(4.0) + 1)}),
        (LLAMA3, {}),
    ],
)  # fmt: skip
def test_keys_of_gguf(scaling: dict[str, Any], keys: dict[str, Any], tmp_path: Path) -> None:
    folder = scaled(tmp_path / "m", scaling)
    with open_tensor_file(derive(folder, "gguf", cache=tmp_path / "c").path) as file:
        start = file.metadata["general.architecture"] + ".rope.scaling."
        found = {name.removeprefix(start): value for name, value in file.metadata.items() if name.startswith(start)}
        assert found == {
            name: value if isinstance(value, str) else pytest.approx(value) for name, value in keys.items()
        }
        assert ("rope_freqs.weight" in file.entries) == (scaling is LLAMA3)


@pytest.mark.parametrize("changes", [{}, {"factor": 8.0}, {"original_max_position_embeddings": 2048}])
def test_divisors_are_the_float32_numbers_of_transformers(changes: dict[str, Any], tmp_path: Path) -> None:
    folder = scaled(tmp_path / "m", LLAMA3 | changes)
    config = transformers.AutoConfig.from_pretrained(folder)
    wanted, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 1.0 / 500000.0 ** (torch.arange(0, 16, 2).float() / 16)
    with open_tensor_file(derive(folder, "gguf", cache=tmp_path / "c").path) as file:
        assert file.entries["rope_freqs.weight"].dtype == "F32"
        assert next(iter(file.entries)) == "rope_freqs.weight"
        divisors = file.read("rope_freqs.weight")
    np.testing.assert_allclose(plain.numpy() / divisors, wanted.numpy(), rtol=1e-6)
    assert divisors[0] == 1.0
    assert divisors[-1] == (LLAMA3 | changes)["factor"]


@pytest.mark.parametrize("path", [("gguf",), ("apr",), ("gguf", "apr", "gguf"), ("apr", "gguf", "safetensors")])
@pytest.mark.parametrize(
    "scaling", [LINEAR, YARN, YARN | {"attention_factor": 0.9}, LLAMA3, LLAMA3 | {"factor": 8.0}], ids=str
)
def test_the_model_is_the_same_along_every_path(scaling: dict[str, Any], path: tuple[str, ...], tmp_path: Path) -> None:
    folder = scaled(tmp_path / "m", scaling)
    last = convert(folder, path, tmp_path / "w")
    with open_artifact(folder) as source, open_artifact(last) as target:
        assert compare_models(source, target, path).differences == []
        declared = dict(target.config.rope_scaling)
        assert declared["rope_type"] == scaling["rope_type"]
        assert declared == {
            name: pytest.approx(value) if name != "rope_type" else value for name, value in scaling.items()
        }


@pytest.mark.parametrize("format_name", ["gguf", "apr"])
@pytest.mark.parametrize(
    ("scaling", "other"),
    [
        (LINEAR, {}),
        (LINEAR, LINEAR | {"factor": 4.001}),
        (YARN, YARN | {"attention_factor": 0.9}),
        (YARN, YARN | {"original_max_position_embeddings": 65}),
        (LLAMA3, LLAMA3 | {"factor": 32.1}),
        (LLAMA3, LLAMA3 | {"high_freq_factor": 4.5}),
    ],
)
def test_a_file_with_another_scaling_is_told(
    scaling: dict[str, Any], other: dict[str, Any], format_name: str, tmp_path: Path
) -> None:
    write = write_random_qwen2
    kept = {"rope_theta": 500000.0}
    if scaling is LLAMA3:
        write, kept = write_random_llama, kept | {"head_dim": 32}
    folder = write(tmp_path / "m", changes=kept | {"rope_scaling": scaling})
    wrong = write(tmp_path / "w", changes=kept | {"rope_scaling": other})
    with open_artifact(folder) as source, open_artifact(derive(wrong, format_name, cache=tmp_path / "c")) as target:
        assert [one.where for one in compare_models(source, target).differences] == ["rope_scaling"]


@pytest.mark.parametrize("scaling", [LINEAR, YARN | {"attention_factor": 0.9}, SHORT_LLAMA3], ids=str)
def test_the_reference_engine_computes_what_the_file_says(scaling: dict[str, Any], tmp_path: Path) -> None:
    ids = [int(one) for one in np.random.default_rng(1).integers(5, 200, 160)]
    write = write_random_llama if scaling is SHORT_LLAMA3 else write_random_qwen2
    folder = write(tmp_path / "m", changes={"rope_scaling": scaling})
    plain = write(tmp_path / "p")
    with torch.no_grad():
        expected, unscaled = (
            transformers.AutoModelForCausalLM.from_pretrained(one, dtype=torch.float32, attn_implementation="eager")(
                torch.tensor([ids])
            ).logits[0]
            for one in (folder, plain)
        )
    for format_name in ("gguf", "apr"):
        with EngineHost("torch", threads=1) as host:
            host.load(derive(folder, format_name, cache=tmp_path / "c"), 120.0)
            found = np.asarray(host.logits(ids, 120.0))
        np.testing.assert_allclose(found, expected.numpy(), atol=2e-3)
    assert float((expected - unscaled)[64:].abs().max()) > 0.1, "the scaling changes nothing: nothing was shown"


def test_the_rule_that_a_gguf_file_says_gives_its_own_divisors_again(tmp_path: Path) -> None:
    folder = scaled(tmp_path / "m", LLAMA3)
    first, again = (convert(folder, path, tmp_path / str(len(path))) for path in (("gguf",), ("gguf", "apr", "gguf")))
    with open_tensor_file(first) as one, open_tensor_file(again) as other:
        assert one.raw("rope_freqs.weight").tobytes() == other.raw("rope_freqs.weight").tobytes()


def test_apr_says_what_config_json_says(tmp_path: Path) -> None:
    declared = YARN | {"beta_fast": 16.0, "mscale": 1.0, "mscale_all_dim": 0.7, "truncate": False}
    folder = scaled(tmp_path / "m", declared)
    with open_artifact(derive(folder, "apr", cache=tmp_path / "c")) as artifact:
        assert artifact.file.metadata["rope_scaling"] == declared
        assert dict(artifact.config.rope_scaling) == declared


@pytest.mark.parametrize("kind", list(SCALINGS))
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_gguf_is_written_of_families_whose_scaling_is_shown(family: str, kind: str, tmp_path: Path) -> None:
    folder = family_folder(
        tmp_path / "m", family, rope_scaling=SCALINGS[kind], original_max_position_embeddings=DROPPED
    )
    if family in GGUF_FAMILIES[kind]:
        with open_artifact(folder) as source, open_artifact(derive(folder, "gguf", cache=tmp_path / "c")) as target:
            assert compare_models(source, target).differences == []
        return
    with pytest.raises(
        LifecycleError, match=rf"rope_scaling rope_type: .*{kind} scaling for this family .*found {family}"
    ):
        derive(folder, "gguf", cache=tmp_path / "c")


@pytest.mark.parametrize("format_name", ["gguf", "apr"])
@pytest.mark.parametrize("field", ["rope_scaling", "rope_parameters"])
@pytest.mark.parametrize("kind", ["dynamic", "longrope", "su", "proportional", "mrope"])
def test_other_kinds_are_refused(kind: str, field: str, format_name: str, tmp_path: Path) -> None:
    folder = scaled(tmp_path / "m", {}, **{field: {"rope_type": kind, "factor": 8.0, "rope_theta": 10000.0}})
    with pytest.raises(LifecycleError, match=rf"{field}: rotary scaling cannot be declared .*limit default \| linear"):
        derive(folder, format_name, cache=tmp_path / "c")


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NEEDED.items() for name in names])
def test_a_scaling_without_what_it_needs_is_refused(kind: str, name: str, tmp_path: Path) -> None:
    scaling = {key: value for key, value in SCALINGS[kind].items() if key != name}
    with pytest.raises(LifecycleError, match=f"rope_scaling {name}: {kind} scaling needs it"):
        derive(scaled(tmp_path / "m", scaling), "apr", cache=tmp_path / "c")


@pytest.mark.parametrize(
    ("scaling", "field"),
    [
        (YARN | {"beta_fast": 31.9}, "beta_fast"),
        (YARN | {"beta_slow": 1.1}, "beta_slow"),
        (YARN | {"mscale": 1.0}, "mscale"),
        (YARN | {"mscale_all_dim": 1.0}, "mscale_all_dim"),
        (YARN | {"truncate": False}, "truncate"),
        (YARN | {"finetuned": True}, "finetuned"),
        (YARN | {"extrapolation_factor": 0.9}, "extrapolation_factor"),
        (YARN | {"original_max_position_embeddings": 6}, "original_max_position_embeddings"),
        (YARN | {"original_max_position_embeddings": 64.5}, "original_max_position_embeddings"),
        (LINEAR | {"attention_factor": 0.9}, "attention_factor"),
        (LLAMA3 | {"low_freq_factor": 4.0}, "low_freq_factor"),
        (LLAMA3 | {"factor": 0.99}, "factor"),
        (LLAMA3 | {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    ],
)
def test_what_llama_cpp_computes_otherwise_is_refused(scaling: dict[str, Any], field: str, tmp_path: Path) -> None:
    with pytest.raises(LifecycleError, match=f"rope_scaling {field}: "):
        derive(scaled(tmp_path / "m", scaling), "gguf", cache=tmp_path / "c")


@pytest.mark.parametrize(
    "scaling",
    [
        YARN | {"original_max_position_embeddings": 7},
        LLAMA3 | {"low_freq_factor": 3.99},
        LLAMA3 | {"factor": 1.01},
        LLAMA3 | {"partial_rotary_factor": 1.0},
    ],
)
def test_what_is_just_computed_the_same_is_written(scaling: dict[str, Any], tmp_path: Path) -> None:
    folder = scaled(tmp_path / "m", scaling)
    with open_artifact(folder) as source, open_artifact(derive(folder, "gguf", cache=tmp_path / "c")) as target:
        assert compare_models(source, target).differences == []


@pytest.mark.parametrize(("offset", "refused"), [(0.0, True), (9e-6, True), (1.1e-5, False)])
def test_a_ramp_that_ends_on_the_verge_of_a_dimension_is_refused(offset: float, refused: bool, tmp_path: Path) -> None:
    """llama.cpp rounds the end down or up in float32; the base is chosen so that it is 3 dimensions and OFFSET."""
    theta = float(np.exp(16 * np.log(64 / (2 * np.pi)) / (2 * (3 + offset))))
    folder = scaled(tmp_path / "m", YARN, rope_theta=theta)
    if refused:
        with pytest.raises(LifecycleError, match="an end of YaRN's ramp"):
            derive(folder, "gguf", cache=tmp_path / "c")
    else:
        assert derive(folder, "gguf", cache=tmp_path / "c").path.is_file()


@pytest.mark.parametrize(("beside", "refused"), [(64, False), (65, True)])
def test_a_first_context_beside_the_scaling_must_be_the_same(beside: int, refused: bool, tmp_path: Path) -> None:
    folder = scaled(tmp_path / "m", YARN, original_max_position_embeddings=beside)
    if refused:
        with pytest.raises(LifecycleError, match=r"original_max_position_embeddings: .*found 65, limit 64"):
            derive(folder, "apr", cache=tmp_path / "c")
    else:
        assert derive(folder, "apr", cache=tmp_path / "c").path.is_file()


@pytest.mark.parametrize(("other", "refused"), [(4.0, False), (4.5, True)])
def test_two_declarations_must_agree(other: float, refused: bool, tmp_path: Path) -> None:
    folder = scaled(tmp_path / "m", LINEAR, rope_parameters=LINEAR | {"factor": other, "rope_theta": 500000.0})
    if refused:
        with pytest.raises(LifecycleError, match=r"rope_scaling: .*rope_parameters declares another"):
            derive(folder, "gguf", cache=tmp_path / "c")
    else:
        assert derive(folder, "gguf", cache=tmp_path / "c").path.is_file()


@pytest.mark.parametrize("kind", ["default", "linear"])
def test_scaling_of_layers_with_a_window_is_refused(kind: str, tmp_path: Path) -> None:
    layers = {"full_attention": {"rope_type": "default", "rope_theta": 1e6},
              "sliding_attention": {"rope_type": kind, "factor": 2.0, "rope_theta": 1e4}}  # fmt: skip
    folder = family_folder(tmp_path / "m", "gemma3_text", rope_parameters=layers)
    if kind == "linear":
        with pytest.raises(LifecycleError, match=r"rope_parameters sliding_attention: .*found linear, limit default"):
            derive(folder, "gguf", cache=tmp_path / "c")
    else:
        assert derive(folder, "gguf", cache=tmp_path / "c").path.is_file()


def test_every_tensor_of_a_scaled_file_is_told_once(tmp_path: Path) -> None:
    folder, seen = scaled(tmp_path / "m", LLAMA3), []
    artifact = derive(folder, "gguf", cache=tmp_path / "c", progress=lambda *event: seen.append(event))
    with open_tensor_file(artifact.path) as file:
        assert sorted(name for name, _, _ in seen) == sorted(file.entries)
    assert json.loads((folder / "config.json").read_text())["rope_scaling"] == LLAMA3
    assert all(count < total for _, count, total in seen)
