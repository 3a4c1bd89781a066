"""All rows of the reference page on real files, measured with a program: what `docs/generate_real_files.py` stores."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_aprqa.engines.apr_known_defects import Observation
from pytest_aprqa.engines.apr_program import probe
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.tool_audit import audit, compared, known_lines, show_lines, source_of
from tests.model_fixtures import write_random_llama
from tests.real_apr.behaviours import BEHAVIOURS, measured
from tests.real_apr.damaged_files import make_damaged
from tests.real_apr.real_files import make_files, rows_of, to_json
from tests.real_apr.real_models import TINY_QWEN2, WIDE
from tests.real_apr.real_program import Apr

#: files that are also run, prompt by prompt, by our engine (the others are compared up to their tokens)
RUN = ("import.apr", "import-fp16.apr", "export-fp16.gguf", "from-gguf.apr", "rosetta.gguf")


def measure_all(apr: Apr, folder: Path) -> dict[str, Any]:
    """Sections tiny-qwen2, wide-llama, damaged and behaviours; FOLDER is scratch."""
    narrow = write_random_llama(folder / "models" / "random-llama")
    wide = write_random_llama(folder / "models" / "wide-llama", changes={**WIDE, "head_dim": 64})
    data: dict[str, Any] = {}
    for name, source, depth, kept in (("tiny-qwen2", TINY_QWEN2, "tokens", None), ("wide-llama", wide, "text", RUN)):
        files = folder / name
        files.mkdir()
        made = make_files(apr, source, files)
        # The program leaves a config.json beside what it exports; judged with the files as it left them.
        data[name] = to_json(rows_of(apr, source, [files / file for file in kept or made], made, depth))
    damaged = folder / "damaged"
    damaged.mkdir()
    sound = derive(narrow, "apr", cache=folder / "cache", dtype="f32").path
    made = {"sound.apr": "nothing: the sound file", **make_damaged(sound, damaged)}
    shutil.copyfile(sound, damaged / "sound.apr")
    data["damaged"] = to_json(rows_of(apr, narrow, [damaged / file for file in made], made, "tokens"))
    shutil.copyfile(folder / "wide-llama" / "import-fp16.apr", folder / "tiny-qwen2" / "other-model.apr")
    words = measured(apr, TINY_QWEN2, folder / "tiny-qwen2")
    data["behaviours"] = [
        {"command": command, "what": behaviour.what, "measured": words[command], "ours": behaviour.ours}
        for command, behaviour in BEHAVIOURS.items()
    ]
    return data


def measure_recorded(apr: Apr, folder: Path) -> dict[str, Any]:
    """One section per model of FOLDER/models, of the files in FOLDER/files that carry its name."""
    data: dict[str, Any] = {}
    for source in sorted((folder / "models").iterdir()):
        files = sorted(path for path in (folder / "files").iterdir() if path.name.startswith(f"{source.name}."))
        made = {path.name: path.name.removeprefix(f"{source.name}.").rpartition(".")[0] or "import" for path in files}
        data[source.name] = to_json(rows_of(apr, source, files, made, "tokens"))
    data["known"] = measure_known(apr, sorted((folder / "files").iterdir()), folder / "models")
    return data


def measure_known(apr: Apr, files: Sequence[Path], models: Path) -> list[str]:
    """The known defects of the release as `aprqa tools FILES MODELS --against MODELS` prints them."""
    program = probe(apr.path)
    judged = [*files, *sorted(models.iterdir())]
    found = [
        Observation(model.name, result.tool, result.reason)
        for model in judged
        for result in audit(program, model, source_of(model, models), no_gpu=True, serve=False)
        if result.passed is False
    ]
    found += compared(judged, models, "logits")
    return list(show_lines(known_lines(found), lambda word, **style: word))
