"""The clean models that defects are seeded into: the playbook's own if it is small, else the bundled one."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_aprqa.playbooks.blocks import DIFFERENTIAL_DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_aprqa.defects.defect import Defect
    from pytest_aprqa.playbooks.playbook import Playbook

OWN_MODEL_LIMIT = 64 << 20  # bytes of weights; each defect is a copy, so a larger model gives way to the bundled one
BUNDLED_PLAYBOOK = "tiny-qwen2-mvp"
PROMPTS = 4  # of the playbook's first prompts that a broken copy is asked
TIMEOUT_MS = 30_000
HANG_TIMEOUT_MS = 5000  # where every answer takes the whole limit
MODALITIES = ("run", "chat")
GROUND_TRUTH = "safetensors"
QUANTISATION = "bf16"
# Blocks that need nothing but the copy and its source: every copy is judged as if the playbook configured them.
BLOCKS: dict[str, dict[str, Any]] = {
    f"differential_tests.{name}": DIFFERENTIAL_DEFAULTS[name] | {"gates": []}
    for name in ("format_validation", "tensor_diff", "fingerprint", "validate_stats", "inference_compare")
} | {"trace_payload": {"gates": []}}


@dataclass(frozen=True, slots=True)
class Base:
    """A clean SafeTensors folder, and the playbook whose prompts and oracles fit it. `note` says why this model."""

    folder: Path
    playbook: Playbook
    note: str


def base_of(playbook: Playbook, own_folder: Callable[[], Path]) -> Base:
    """The playbook's own model where its SafeTensors weights are there and small; else the bundled tiny model."""
    from pytest_aprqa.models.errors import ModelError

    try:
        folder = own_folder()
    except (OSError, ModelError) as error:
        return _bundled(playbook, f"the playbook's model is not here ({error})")
    folder = folder if folder.is_dir() else folder.parent
    weights = [path for path in folder.glob("*.safetensors") if path.is_file()]
    size = sum(path.stat().st_size for path in weights)
    if not weights:
        return _bundled(playbook, f"{folder} holds no SafeTensors weights")
    if size > OWN_MODEL_LIMIT:
        return _bundled(playbook, f"the model has {size >> 20} MiB of weights, limit {OWN_MODEL_LIMIT >> 20} MiB")
    return Base(folder, playbook, f"the playbook's model in {folder}")


def _bundled(playbook: Playbook, why: str) -> Base:
    """The bundled model under the switches of `playbook`, asked the prompts that it has learnt."""
    from pytest_aprqa.models.bundled import bundled_folder
    from pytest_aprqa.playbooks.loading import load_playbook
    from pytest_aprqa.playbooks.lookup import find_playbook

    tiny = load_playbook(find_playbook(BUNDLED_PLAYBOOK, []))
    folder = bundled_folder() / "models" / "tiny-qwen2"
    merged = dataclasses.replace(
        tiny, gates=playbook.gates, contract_invariants=playbook.contract_invariants, name=playbook.name
    )
    return Base(folder, merged, f"the bundled tiny-qwen2: {why}")


def plant(defect: Defect, base: Base, folder: Path, cache: Path) -> Path | None:
    """Make in the new `folder` a copy of the base with the defect in it; other files of the base are links.

    Returns the ground truth where it is not in `folder` itself: the clean folder of a defect in SafeTensors.
    """
    from pytest_aprqa.lifecycle.derive import derive

    source = defect.prepare(base.folder, folder.with_name("clean"))
    if defect.format == GROUND_TRUTH:
        defect.apply(source, folder)
        return source
    clean = derive(source, defect.format, cache=cache, dtype=defect.base)
    link_source(source, folder)
    defect.apply(clean.path, folder / f"model.{defect.format}")
    return None


def link_source(source: Path, folder: Path) -> None:
    """Give `folder` (created) every plain file of `source` but APR and GGUF, as links."""
    folder.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix not in (".apr", ".gguf"):
            os.symlink(path.resolve(), folder / path.name)


def playbook_for(
    base: Base,
    folder: Path,
    formats: tuple[str, ...],
    dtype: str,
    *,
    prompts: int,
    timeout_ms: int,
    modalities: tuple[str, ...] = MODALITIES,
    profile: dict[str, Any] | None = None,
    is_base: bool = True,
) -> Playbook:
    """The base's playbook over the copy in `folder`: these formats, CPU, few prompts, exactly the declared type.

    `is_base` False: the copy is of another model, so that the playbook's dimensions are not expected of it.
    """
    playbook = base.playbook
    asked = playbook.matrix.prompts[:prompts]
    matrix = dataclasses.replace(
        playbook.matrix,
        formats=formats,
        backends=("cpu",),
        modalities=tuple(m for m in modalities if m in playbook.matrix.modalities) or modalities[:1],
        prompts=asked,
        scenario_count=len(asked),
        timeout_ms=timeout_ms,
        mvp_matrix={},
    )
    expected = playbook.model.expected if is_base else {}
    model = dataclasses.replace(
        playbook.model, local_path=folder, formats=formats, quantizations=(dtype,), expected=expected
    )
    return dataclasses.replace(
        playbook,
        name=f"{playbook.name}-{prompts}",
        path=folder.parent / f"{folder.name}.playbook.yaml",
        model=model,
        matrix=matrix,
        blocks=BLOCKS,
        profile_ci=profile,
    )
