"""KL divergence, perplexities and agreement beside llama.cpp's perplexity tool: the same pair of files, the same text.

The tool is what LLAMA_PERPLEXITY names, or `llama-perplexity` on PATH; it stores logits in 16 bits between passes.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_aprqa.engine_contract import LIMIT_S
from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.models.artifact import Artifact, open_artifact
from pytest_aprqa.numerics.logit_comparison import LogitDistance, compare_logits

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install pytest-aprqa[llama]")
TOOL = os.environ.get("LLAMA_PERPLEXITY") or shutil.which("llama-perplexity")
pytestmark = [
    pytest.mark.llama,
    pytest.mark.skipif(not TOOL, reason="llama-perplexity is neither on PATH nor named by LLAMA_PERPLEXITY"),
]
TINY = Path(__file__).parents[2] / "models" / "tiny-qwen2"
ATTEMPTS = 12
CONTEXT = 64  # tokens of one sequence; the tool counts the second half of each
SEQUENCES = 10
FIRST = CONTEXT // 2
COUNTED = CONTEXT - 1 - FIRST
PRINTED = 2e-6  # the tool prints six decimals
LOWEST = 16.0  # nats below the largest logit: lower logits are stored as this one, and add nothing
#: The model has learnt this function by heart: its loss is below chance, so perplexities mean something.
TEXT = "def fibonacci(n):\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)\n" * 40
ESTIMATE = re.compile(r"Final estimate: PPL = ([\d.]+)")
LAST = re.compile(r"Same top p: +[\d.]+")
FIGURE = re.compile(r"^\s*(.+?)\s*:\s+(-?[\d.]+|-?nan)(?: ± +(-?[\d.]+|-?nan))?", re.MULTILINE)


@dataclass(frozen=True)
class ToolRun:
    """What the tool printed: `perplexity` in its first pass, `figures` (value, uncertainty) in its second.

    `ids` [sequences, CONTEXT]: the tokens that it stored.
    """

    perplexity: float
    figures: dict[str, tuple[float, float]]
    ids: NDArray[np.int32]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("perplexity")


@pytest.fixture(scope="module")
def tool(cache: Path) -> Callable[[Artifact, Artifact], ToolRun]:
    text, stored = cache / "text.txt", cache / "logits"
    text.write_text(TEXT, encoding="utf-8")

    def run(base: Artifact, other: Artifact) -> ToolRun:
        plain = ["-c", str(CONTEXT), "-b", str(CONTEXT), "-t", "2", "--no-warmup", "--chunks", str(SEQUENCES)]
        first = _tool(ESTIMATE, "-m", str(base.path), "-f", str(text), "--kl-divergence-base", str(stored), *plain)
        estimate = ESTIMATE.search(first)
        assert estimate
        second = ["-m", str(other.path), "--kl-divergence-base", str(stored), "--kl-divergence", *plain]
        printed = _tool(LAST, *second)
        figures = {name: (float(a), float(b or "nan")) for name, a, b in FIGURE.findall(printed)}
        content = stored.read_bytes()
        assert content[:8] == b"_logits_"
        context, _, sequences = struct.unpack_from("<Iii", content, 8)
        assert (context, sequences) == (CONTEXT, SEQUENCES)
        ids = np.frombuffer(content, "<i4", context * sequences, 20).reshape(sequences, context)
        return ToolRun(float(estimate[1]), figures, ids)

    return run


def _tool(expected: re.Pattern[str], *arguments: str) -> str:
    """What the tool prints. It may exit before its log's thread has written the last lines (issue 22142 of llama.cpp
    made it so): then it runs again."""
    printed = ""
    for _ in range(ATTEMPTS):
        result = subprocess.run([str(TOOL), *arguments], capture_output=True, timeout=300, check=False)
        printed = (result.stdout + b"\n" + result.stderr).decode("utf-8", errors="replace")
        assert result.returncode == 0, printed[-2000:]
        if expected.search(printed):
            return printed
    pytest.fail(f"the tool does not print {expected.pattern!r}: {printed[-2000:]}")


def _logits(artifact: Artifact, ids: NDArray[np.int32]) -> list[NDArray[np.float32]]:
    """Logits of the counted positions of each sequence, and of the last, by llama.cpp as our engine runs it."""
    host = EngineHost("llama?backend=cpu", threads=2)
    try:
        host.load(artifact, LIMIT_S)
        return [np.asarray(host.logits(row.tolist(), LIMIT_S, first=FIRST)) for row in ids]
    finally:
        host.close()


def _distance(
    ids: NDArray[np.int32], reference: list[NDArray[np.float32]], found: list[NDArray[np.float32]]
) -> LogitDistance:
    """Over the positions that the tool counts; it leaves out the last, which predicts nothing."""
    counted = ((a[:COUNTED], b[:COUNTED]) for a, b in zip(reference, found, strict=True))
    return compare_logits(((row, a, b) for row, (a, b) in zip(ids.tolist(), counted, strict=True)), first=FIRST)


def _as_stored(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log-probabilities as the tool reads them back: 65,536 steps from the largest down to at most LOWEST below it."""
    wide = logits.astype(np.float64)
    most = wide.max(axis=1, keepdims=True)
    least = np.maximum(wide.min(axis=1, keepdims=True), most - LOWEST)
    step = (most - least) / 65535
    log_sum = np.log(np.exp(wide - most).sum(axis=1, keepdims=True))
    return np.asarray(np.round((np.maximum(wide, least) - least) / step) * step + least - most - log_sum)


def _tool_divergence(reference: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.float64]:
    """The tool's sum over the vocabulary for each position, in float64: what its storage makes of a divergence."""
    log_p = _as_stored(reference)
    wide = found.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    log_q = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    terms = np.where(log_p > -LOWEST, np.exp(log_p) * (log_p - log_q), 0.0)
    return np.asarray(terms.sum(axis=1))


def _tool_perplexity(ids: NDArray[np.int32], reference: list[NDArray[np.float32]]) -> float:
    """The tool's figure for the file whose logits it stored."""
    positions = np.arange(FIRST, CONTEXT - 1)
    rows = np.arange(COUNTED)
    losses = [-_as_stored(a)[rows, row[positions + 1]] for row, a in zip(ids, reference, strict=True)]
    return float(np.exp(np.concatenate(losses).mean()))


@pytest.mark.parametrize("dtype", ["q8_0", "q6_k", "q4_k", "q4_0"])
def test_figures_equal_the_tools_within_its_own_rounding(cache, tool, dtype):
    base, other = (derive(TINY, "gguf", cache=cache, dtype=name) for name in ("f16", dtype))
    run = tool(base, other)
    reference, found = _logits(base, run.ids), _logits(other, run.ids)
    divergence = _distance(run.ids, reference, found)
    assert divergence.tokens == divergence.predicted == SEQUENCES * COUNTED
    assert divergence.mean_kld > 0

    # What the 16 bits of its stored logits change, computed here from the same logits.
    pairs = zip(reference, found, strict=True)
    theirs = np.concatenate([_tool_divergence(a[:COUNTED], b[:COUNTED]) for a, b in pairs])
    rounding = abs(theirs.mean() - divergence.mean_kld)
    assert rounding < LOWEST / 65535, "half a step of its storage and what it cuts off"
    mean, uncertainty = run.figures["Mean    KLD"]
    assert mean == pytest.approx(theirs.mean(), abs=PRINTED)
    assert mean == pytest.approx(divergence.mean_kld, abs=rounding + PRINTED)
    assert uncertainty == pytest.approx(divergence.standard_error, abs=rounding + PRINTED)
    assert run.figures["Maximum KLD"][0] == pytest.approx(divergence.worst[2], abs=LOWEST / 65535 + PRINTED)

    # Its first pass has the whole logits; in the second a surprising token's loss is cut off at LOWEST: its own
    # figures for the base file are far lower than what it printed before.
    perplexity = divergence.perplexity_reference * divergence.perplexity_ratio
    assert run.perplexity == pytest.approx(divergence.perplexity_reference, rel=1e-6, abs=1e-4)
    assert run.figures["Mean PPL(Q)"][0] == pytest.approx(perplexity, rel=1e-6, abs=PRINTED)
    cut_off = _tool_perplexity(run.ids, reference)
    assert run.figures["Mean PPL(base)"][0] == pytest.approx(cut_off, rel=1e-6, abs=PRINTED)
    assert run.figures["Mean PPL(Q)/PPL(base)"][0] == pytest.approx(perplexity / cut_off, rel=1e-6, abs=PRINTED)
    # Two best tokens closer than a step may change places.
    assert run.figures["Same top p"][0] / 100 == pytest.approx(divergence.top1_agreement, abs=1 / divergence.tokens)


def test_a_file_beside_itself_has_the_tools_rounding_and_we_have_none(cache, tool):
    base = derive(TINY, "gguf", cache=cache, dtype="f16")
    run = tool(base, base)
    reference = _logits(base, run.ids)
    divergence = _distance(run.ids, reference, reference)
    assert (divergence.mean_kld, divergence.top1_agreement, divergence.perplexity_ratio) == (0, 1, 1)
    assert abs(run.figures["Mean    KLD"][0]) < LOWEST / 65535
    with open_artifact(base) as opened:
        ids = opened.tokenizer.encode(TEXT)
    assert run.ids.ravel().tolist() == ids[: SEQUENCES * CONTEXT], "the tool splits the text as the file declares"
