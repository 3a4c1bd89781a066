"""One divergence as a user gets it, timed by benchmarks/numerics.py: `BASE.gguf OTHER.gguf TEXT CONTEXT SEQUENCES`.

Both files run in llama.cpp through our engine; no logits are stored. Prints JSON: tokens, mean and standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.models.artifact import describe_artifact
from pytest_aprqa.numerics.logit_comparison import compare_logits

LIMIT_S = 600.0


def main() -> None:
    """Compare the second half of each sequence, as llama.cpp's tool does."""
    base, other, text = map(Path, sys.argv[1:4])
    context, sequences = map(int, sys.argv[4:6])
    first = context // 2
    with (
        EngineHost("llama?backend=cpu", threads=os.cpu_count()) as reference,
        EngineHost("llama?backend=cpu", threads=os.cpu_count()) as host,
    ):
        for engine, path in ((reference, base), (host, other)):
            engine.load(describe_artifact(path, "gguf"), LIMIT_S)
        (ids,) = reference.encode([text.read_text(encoding="utf-8")], LIMIT_S)

        def triples() -> Iterator[tuple[list[int], Any, Any]]:
            for number in range(sequences):
                window = ids[number * context : (number + 1) * context]
                a, b = (engine.logits(window, LIMIT_S, first=first, lasting=False)[:-1] for engine in (reference, host))
                yield window, a, b

        distance = compare_logits(triples(), first=first)
    print(json.dumps({"tokens": distance.tokens, "mean": distance.mean_kld, "standard_error": distance.standard_error}))


if __name__ == "__main__":
    main()
