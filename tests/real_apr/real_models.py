"""The models that these tests give to the program: the bundled one and random ones, each without its chat template.

Without a template the program continues a prompt as it stands; with one it wraps every prompt, even for completion.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.model_fixtures import write_random_llama, write_random_qwen2

TINY_QWEN2 = Path(__file__).parents[2] / "models" / "tiny-qwen2"
WIDE = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2}
MODELS = ("tiny-qwen2", "random-qwen2", "random-llama", "wide-llama")


def make_model(name: str, folder: Path) -> Path:
    """One of MODELS below FOLDER: tiny-qwen2 is trained and 256 wide, as wide-llama is; the other two are narrow."""
    target = folder / name
    if name == "tiny-qwen2":
        shutil.copytree(TINY_QWEN2, target)
    elif name == "random-qwen2":
        write_random_qwen2(target)
    else:
        write_random_llama(target, changes={**WIDE, "head_dim": 64} if name == "wide-llama" else None)
    return without_template(target)


def without_template(folder: Path) -> Path:
    """FOLDER with its chat template removed, in both places where one may be."""
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    path = folder / "tokenizer_config.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    fields.pop("chat_template", None)
    path.write_text(json.dumps(fields), encoding="utf-8")
    return folder
