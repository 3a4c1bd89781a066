"""A small valid playbook as data, and how tests change and load it."""

import copy
from typing import Any

import yaml

from pytest_aprqa.playbooks.loading import load_playbook

REMOVE = object()

SMALL: dict[str, Any] = {
    "name": "small",
    "version": "1.0.0",
    "model": {"hf_repo": "org/Name-1.5B", "formats": ["safetensors", "apr", "gguf"]},
    "test_matrix": {"modalities": ["run", "chat", "serve"], "backends": ["cpu", "gpu"], "scenario_count": 1},
}


def changed(changes):
    """SMALL with values set (or, with REMOVE, taken away) at dotted key paths."""
    data = copy.deepcopy(SMALL)
    for path, value in changes.items():
        *parents, last = path.split(".")
        section = data
        for parent in parents:
            section = section.setdefault(parent, {})
        if value is REMOVE:
            del section[last]
        else:
            section[last] = value
    return data


def load_data(folder, data, name="small.playbook.yaml"):
    """Write DATA as YAML into FOLDER and load it."""
    path = folder / name
    path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return load_playbook(path)
