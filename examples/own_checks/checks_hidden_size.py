"""Two checks of our own: ordinary test functions that ask for the plugin's fixtures and name their gate."""

import pytest

# Tensor cores and most matrix kernels work on tiles of 64 values: other sizes are padded at run time.
TILE = 64


@pytest.mark.gate("F-QUAL-901", severity="P1", title="hidden size is a multiple of the kernel tile")
def test_hidden_size_fits_the_kernel_tile(artifact, observe):
    """Hidden size and feed-forward size of every format are multiples of 64."""
    observe.advise("pad the model before training, or use a kernel without tiles")
    for name in ("hidden_size", "intermediate_size"):
        value = getattr(artifact.config, name)
        observe(name, value, limit=f"a multiple of {TILE}", passed=value % TILE == 0)
        assert value % TILE == 0, f"{name} {value} is not a multiple of {TILE}"


@pytest.mark.gate("F-QUAL-902", severity="P2", title="answers are short")
def test_answer_is_short(answer, scenario, observe):
    """No answer is longer than 200 characters."""
    observe("characters", len(answer.text), limit=200, passed=len(answer.text) <= 200)
    assert len(answer.text) <= 200, f"{scenario.prompt!r}: {len(answer.text)} characters"
