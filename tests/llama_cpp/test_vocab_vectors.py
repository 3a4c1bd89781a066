"""Every vocabulary of llama.cpp's source archive: its recorded ids, and the library's own ids over the token battery.

`LLAMA_CPP_SOURCE` names the folder that holds `models/ggml-vocab-*.gguf` of a llama.cpp source tree.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.models.token_battery import BATTERY
from pytest_aprqa.models.tokenizer import END_NAMES
from tests.models.vocabulary_vectors import STORED, vectors

pytestmark = pytest.mark.llama
SOURCE = os.environ.get("LLAMA_CPP_SOURCE")
FOLDER = Path(SOURCE) / "models" if SOURCE else STORED
FILES = sorted(FOLDER.glob("ggml-vocab-*.gguf"))
# Texts of the battery that llama.cpp splits otherwise than the libraries its vocabularies come from, by kind: it drops
# jamo, vowel signs and controls of WordPiece by a table of its own, and composes marks of Unigram in another way.
OWN_WAYS = {"bert": 5, "t5": 3}


@pytest.mark.parametrize("path", [f for f in FILES if Path(f"{f}.inp").is_file()], ids=lambda path: path.stem)
def test_recorded_ids(path):
    with open_artifact(path) as opened:
        tokenizer = opened.tokenizer
    wrong = [text for text, ids in vectors(path) if tokenizer.encode(text, add_special=False) != ids]
    assert wrong == []


@pytest.mark.skipif(not SOURCE, reason="LLAMA_CPP_SOURCE names no source tree of llama.cpp")
def test_all_vocabularies_of_the_archive_are_there():
    assert len([f for f in FILES if Path(f"{f}.inp").is_file()]) >= 15


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_library_gives_the_same_ids_over_the_battery(path):
    llama_cpp = pytest.importorskip("llama_cpp")
    library = llama_cpp.Llama(model_path=str(path), vocab_only=True, verbose=False)
    with open_artifact(path) as opened:
        tokenizer = opened.tokenizer
    # llama.cpp takes names that end a generation for control tokens even where the file declares ordinary ones.
    overridden = [t for t, kind in zip(tokenizer.tokens, tokenizer.token_types, strict=True) if kind == 1]
    overridden = [t for t in overridden if t in END_NAMES]
    tokens, wrong = 0, []
    for text in BATTERY:
        theirs = library.tokenize(text.encode("utf-8"), add_bos=True, special=True)
        ours = tokenizer.encode(text)
        tokens += len(theirs)
        if ours != theirs and not any(name in text for name in overridden):
            wrong.append((text[:40], ours[:12], theirs[:12]))
    assert tokens > 0
    assert len(wrong) <= OWN_WAYS.get(tokenizer.kind, 0), wrong
