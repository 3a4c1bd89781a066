"""llama.cpp's own vocabulary vectors: `NAME.gguf`, texts in `NAME.gguf.inp`, the ids of each in `NAME.gguf.out`."""

from __future__ import annotations

from pathlib import Path

STORED = Path(__file__).resolve().parents[1] / "data" / "llama_cpp_vocab"
SEPARATOR = "\n__ggml_vocab_test__\n"


def vectors(vocabulary: Path) -> list[tuple[str, list[int]]]:
    """(text, ids without BOS) of one vocabulary; ValueError when texts and lines of ids do not pair up."""
    texts = Path(f"{vocabulary}.inp").read_bytes().decode("utf-8").split(SEPARATOR)
    lines = Path(f"{vocabulary}.out").read_text(encoding="utf-8").split("\n")
    if any(lines[len(texts) :]) or len(lines) < len(texts):
        raise ValueError(f"{vocabulary}: {len(texts)} texts, {len(lines)} lines of ids")
    return [(text, [int(number) for number in line.split()]) for text, line in zip(texts, lines, strict=False)]
