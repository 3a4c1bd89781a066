"""Linear layers with packed weights compute what they computed before, up to the rounding of bfloat16."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from pytest_aprqa.engines import packed_linear, torch_model  # noqa: E402
from pytest_aprqa.engines.torch_engine import TorchEngine  # noqa: E402
from pytest_aprqa.models.artifact import describe_artifact  # noqa: E402

needs_product = pytest.mark.skipif(not packed_linear._available(), reason="no bfloat16 product in this torch or CPU")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, random_qwen2_folder: Path):
    """A small model computed in bfloat16, as large ones are."""
    monkeypatch.setattr(torch_model, "FLOAT32_PARAMETERS", 0)
    engines = []

    def one(packed: bool) -> TorchEngine:
        monkeypatch.setattr(packed_linear, "_available", lambda: packed)
        engine = TorchEngine(threads=1)
        engines.append(engine)
        engine.load(describe_artifact(random_qwen2_folder, "safetensors"), lambda *event: None)
        return engine

    yield one
    for engine in engines:
        engine.close()


@needs_product
@pytest.mark.parametrize("rows", [1, 2, packed_linear.ROWS, packed_linear.ROWS + 1, 100])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_computes_what_it_did(rows, bias):
    torch.manual_seed(rows)
    linear = torch.nn.Linear(96, 40, bias=bias, dtype=torch.bfloat16)
    values = torch.randn(2, rows, 96, dtype=torch.bfloat16)
    with torch.inference_mode():
        expected, found = linear(values), packed_linear.PackedLinear(linear)(values)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=2**-7, atol=2**-7)


@needs_product
def test_a_packed_model_answers_as_the_plain_one(load):
    plain, packed = load(False), load(True)
    assert plain.describe().details["packed_layers"] == 0
    assert packed.describe().details["packed_layers"] > 7
    assert not [name for name, module in packed._model.named_modules() if type(module) is torch.nn.Linear]
    ids = list(range(5, 45))
    expected, found = plain.logits(ids), packed.logits(ids)
    spread = float(expected.std())
    assert abs(found - expected).max() < spread / 10


@needs_product
def test_a_head_that_is_the_embedding_is_packed_and_the_embedding_stays(load):
    plain, packed = load(False)._model, load(True)._model
    head = packed.get_output_embeddings()
    assert type(head) is packed_linear.PackedLinear
    values = torch.randn(3, packed.config.hidden_size, dtype=torch.bfloat16)
    with torch.inference_mode():
        torch.testing.assert_close(head(values), plain.get_output_embeddings()(values), rtol=2**-7, atol=2**-7)
        ids = torch.arange(4)
        assert torch.equal(packed.get_input_embeddings()(ids), plain.get_input_embeddings()(ids))


def test_where_torch_cannot_nothing_is_replaced(load):
    engine = load(False)
    assert engine.describe().details["packed_layers"] == 0
    assert engine.logits([5, 6, 7]).shape[0] == 3
