"""One scaled head is found in every measured type; clean quantisation of many shapes of values is not refused."""

from types import SimpleNamespace

import numpy as np
import pytest

from pytest_aprqa.formats.codecs import decode, encode
from pytest_aprqa.numerics.head_slopes import is_judged, scaled_heads
from pytest_aprqa.numerics.limits import limits_table

TABLE = limits_table()["head_slopes"]
TYPES = sorted(TABLE["types"])
DIM, HEADS, COLUMNS = 32, 4, 256
NAMES = ("model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.o_proj.weight")


class Tensors:
    def __init__(self, values, dtype):
        self.values, self.dtype = values, dtype

    def entry(self, name):
        return SimpleNamespace(shape=self.values.shape, dtype=self.dtype)

    def stored(self, name):
        return None

    def chunks(self, name, elements):
        flat = self.values.reshape(-1)
        return (flat[at : at + 3000] for at in range(0, flat.size, 3000))


def shape_of(name):
    return (DIM * HEADS, COLUMNS) if "q_proj" in name else (COLUMNS, DIM * 8)


def head(values, name, number):
    part = slice(number * DIM, (number + 1) * DIM)
    return values[part] if "q_proj" in name else values[:, part]


def found(source, stored, dtype, name, dim=DIM):
    return scaled_heads(Tensors(source, "F32"), Tensors(stored, dtype), name, dim)


def stored(dtype, values):
    return decode(dtype, np.frombuffer(bytes(encode(dtype, values)), np.uint8), values.shape)


def distributions(shape, seed):
    draw = np.random.default_rng(seed)
    normal = draw.standard_normal(shape)
    yield normal
    yield draw.standard_t(4, shape)
    yield draw.laplace(size=shape)
    yield draw.uniform(-1, 1, shape)
    yield np.where(draw.random(shape) < 0.7, 0, normal)
    yield normal * 10.0 ** draw.uniform(-1, 1, shape[1])
    yield normal * 10.0 ** draw.uniform(-2, 1, (shape[0], 1))
    yield np.round(3 * normal)
    outliers = normal.copy()
    outliers[:, :4] *= 20
    yield outliers


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", TYPES)
def test_clean_quantisation_has_no_scaled_head(dtype, name):
    for seed in range(3):
        for number, values in enumerate(distributions(shape_of(name), seed)):
            source = values.astype(np.float32)
            assert found(source, stored(dtype, source), dtype, name) == [], (seed, number)


@pytest.mark.parametrize("dtype", ["Q5_0", "Q5_1", "Q4_1"])
def test_a_head_of_outliers_is_clean_and_one_scaled_beside_it_is_not(monkeypatch, dtype):
    """Version 7 refused it in Q5_0. 1,024 rows with four large columns; the first head of eight holds them."""
    values = np.random.default_rng(0).standard_normal((1024, 512))
    values[:, :4] *= 20
    source, name = values.astype(np.float32), NAMES[1]
    back = stored(dtype, source)
    assert found(source, back, dtype, name, dim=64) == []
    part = slice(64, 128)
    damaged = back.copy()
    damaged[:, part] *= np.float32(0.98)
    assert [one.head for one in found(source, damaged, dtype, name, dim=64)] == [1]
    if dtype == "Q5_0":
        monkeypatch.setitem(TABLE["types"][dtype], "from_median", 0.001)
        assert [one.head for one in found(source, back, dtype, name, dim=64)] == [0]


@pytest.mark.parametrize("factor", [0.97, 1.03])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", TYPES)
def test_one_scaled_head_is_found_and_no_other(dtype, name, factor):
    source = np.random.default_rng(1).standard_normal(shape_of(name)).astype(np.float32)
    changed = source.copy()
    head(changed, name, 2)[:] *= factor
    (only,) = found(source, stored(dtype, changed), dtype, name)
    assert only.head == 2
    assert only.slope / only.expected == pytest.approx(factor, abs=0.004)
    assert only.deviation > only.limit > TABLE["types"][dtype]["from_median"]


@pytest.mark.parametrize("dtype", TYPES)
def test_just_below_the_limit_is_no_finding_and_just_above_is(dtype):
    """Exact values, so that the limit is that of the table alone."""
    name = NAMES[0]
    source = np.random.default_rng(2).standard_normal(shape_of(name)).astype(np.float32)
    for share, count in ((0.98, 0), (1.02, 1)):
        changed = source.copy()
        head(changed, name, 1)[:] *= np.float32(1 + share * TABLE["types"][dtype]["from_median"])
        assert len(found(source, changed, dtype, name)) == count
        few = source[: 2 * DIM].copy()
        few[:DIM] *= np.float32(1 - share * TABLE["types"][dtype]["from_one"])
        assert len(found(source[: 2 * DIM], few, dtype, name)) == count


def test_what_cannot_be_judged_is_not():
    name = NAMES[0]
    source = np.random.default_rng(3).standard_normal((64, 256)).astype(np.float32)
    assert found(source, 2 * source, "Q4_K", name, dim=16)
    assert found(source, 2 * source, "Q4_K", name, dim=4) == [], "too few rows"
    assert found(source[:, :64], 2 * source[:, :64], "Q4_K", name, dim=16) == [], "too few values"
    assert found(source, 2 * source, "Q4_K", name, dim=48) == [], "not made of such heads"
    zero = np.zeros_like(source)
    assert found(zero, zero, "Q4_K", name, dim=16) == []
    assert is_judged(name, "Q4_K")
    assert not is_judged(name, "F16")
    assert not is_judged("model.layers.0.mlp.up_proj.weight", "Q4_K")


@pytest.mark.parametrize("dtype", TYPES)
def test_each_limit_is_a_little_more_than_what_was_measured(dtype):
    row = TABLE["types"][dtype]
    for limit, measured in zip((row["from_median"], row["from_one"]), row["measured"], strict=True):
        assert max(0.001, 1.1 * measured + 0.0005) <= limit + 1e-9 <= max(0.001, 1.1 * measured + 0.0006) + 2e-9
