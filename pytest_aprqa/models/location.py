"""Where a model lies: explicit path, playbook, model cache, Hugging Face cache, `apr` caches; its file by format."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_aprqa.models.errors import ModelNotFound

EXTENSIONS = {"safetensors": ".safetensors", "apr": ".apr", "gguf": ".gguf"}
INDEX = "model.safetensors.index.json"
# Left-overs of conversions that are not the model (cli.md section 4).
STALE = ("converted", ".idem", ".com_", ".rt_")
QUANTISATIONS = (
    "-q4k", "-q4_k_m", "-q4_k_s", "-q6_k", "-q8_0", "-q5_k_m", "-q2_k", "-q3_k_m", "-q3_k_s", "-f16", "-f32",
)  # fmt: skip
SKIPPED = ("adapter_", "consolidated")
_REVISION = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,199}")


@dataclass(frozen=True, slots=True)
class ModelLocation:
    """`folder` holds the model (or is one file), `how` names the rule that found it."""

    folder: Path
    how: str


def locate_model(
    repo: str,
    *,
    model_path: Path | None,
    model_cache: Path | None,
    local_path: Path | None,
    environ: Mapping[str, str],
) -> ModelLocation:
    """The first place that holds an artifact of the model. ModelNotFound lists every place that was looked at."""
    places: list[str] = []
    if model_path is not None:
        if _holds_model(model_path):
            return ModelLocation(model_path, "--model-path")
        places.append(f"--model-path {model_path} ({_why_not(model_path)})")
        raise ModelNotFound(repo, places, f"hf download {repo}")
    candidates: list[tuple[str, Path]] = []
    if local_path is not None:
        candidates.append(("local_path of the playbook", local_path))
    parts = repo.split("/")
    if all(part not in ("", ".", "..") for part in parts):
        short = parts[-1].lower().replace(".", "-")
        if model_cache is not None:
            candidates += [("--model-cache", model_cache / one) for one in dict.fromkeys((repo, short))]
        candidates += _hub_candidates(repo, environ)
        caches = (_home(environ) / ".cache" / "apr-models", _home(environ) / ".cache" / "apr" / "models")
        candidates += [("apr cache", cache / one) for cache in caches for one in dict.fromkeys((repo, short))]
    for how, path in candidates:
        if _holds_model(path):
            return ModelLocation(path, how)
        places.append(f"{how} {path} ({_why_not(path)})")
    raise ModelNotFound(repo, places, f"hf download {repo}")


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or ".").absolute()


def _why_not(path: Path) -> str:
    if not os.path.exists(path):
        return "does not exist"
    if not os.access(path, os.R_OK):
        return "cannot be read"
    return "has no safetensors, apr or gguf file" if path.is_dir() else "is not a model file"


def _holds_model(path: Path) -> bool:
    try:
        return any(find_artifact_file(path, format_name) is not None for format_name in EXTENSIONS)
    except OSError:
        return False


def hub_cache(environ: Mapping[str, str]) -> Path:
    """Root of the Hugging Face cache; an empty variable counts as unset, `~` is HOME, a relative path is expanded."""
    for name in ("HUGGINGFACE_HUB_CACHE", "HF_HUB_CACHE"):
        if environ.get(name):
            return _expanded(environ[name], environ)
    if environ.get("HF_HOME"):
        return _expanded(environ["HF_HOME"], environ) / "hub"
    if environ.get("XDG_CACHE_HOME"):
        return _expanded(environ["XDG_CACHE_HOME"], environ) / "huggingface" / "hub"
    return _home(environ) / ".cache" / "huggingface" / "hub"


def _expanded(text: str, environ: Mapping[str, str]) -> Path:
    first, *rest = Path(text).parts or (".",)
    return _home(environ).joinpath(*rest) if first == "~" else Path(text).absolute()


def _hub_candidates(repo: str, environ: Mapping[str, str]) -> list[tuple[str, Path]]:
    root = hub_cache(environ) / f"models--{repo.replace('/', '--')}"
    snapshots = root / "snapshots"
    chosen: list[Path] = []
    reference = root / "refs" / "main"
    with contextlib.suppress(OSError):
        revision = reference.read_text(encoding="utf-8", errors="replace").strip()
        if _REVISION.fullmatch(revision):
            chosen.append(snapshots / revision)
    with contextlib.suppress(OSError):
        others = sorted((p for p in snapshots.iterdir() if p.is_dir()), key=lambda p: (-p.stat().st_mtime, p.name))
        chosen += [p for p in others if p not in chosen]
    return [("Hugging Face cache", path) for path in chosen or [snapshots]]


def find_artifact_file(folder: Path, format_name: str) -> Path | None:
    """The file of a format (for sharded SafeTensors the index), or None; the order of cli.md section 4."""
    extension = EXTENSIONS[format_name]
    if folder.is_file():
        return _beside(folder, extension)
    inner = folder / format_name
    fixed = [inner / f"model{extension}"]
    if format_name == "safetensors":
        fixed.append(inner / INDEX)
    fixed.append(folder / f"model{extension}")
    if format_name == "safetensors":
        fixed.append(folder / INDEX)  # where both lie there, loaders take the single file
    for path in fixed:
        if path.is_file():
            return path
    for place in (inner, folder):
        if place.is_dir():
            clean = sorted(p for p in place.iterdir() if p.suffix == extension and _is_clean(p))
            if clean:
                return clean[0]
    return None


def _is_clean(path: Path) -> bool:
    return path.is_file() and not any(mark in path.name for mark in STALE) and not path.name.startswith(SKIPPED)


def _beside(file: Path, extension: str) -> Path | None:
    if file.name.endswith(".index.json"):
        return file if extension == ".safetensors" else None
    if file.suffix == extension:
        return file
    same = file.with_suffix(extension)
    if same.is_file():
        return same
    stem = file.stem
    for suffix in QUANTISATIONS:
        stem = stem.removesuffix(suffix)
    stem = stem.removesuffix("-instruct")
    siblings = sorted(p for p in file.parent.iterdir() if p.suffix == extension and p.name.startswith(stem))
    return next((p for p in siblings if _is_clean(p)), None)
