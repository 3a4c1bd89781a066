from pathlib import Path

import numpy
import pytest

from pytest_aprqa.formats.codecs import DECODABLE, QUANTISED, decode, encode
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.numerics.behaviour_limits import behaviour_limits
from pytest_aprqa.numerics.limits import ABOVE_FLOOR, EXACT, LimitError, limit_for, limits_table, noise_floor
from pytest_aprqa.numerics.tensor_error import compare_all, tensor_error

TINY = Path(__file__).resolve().parents[2] / "models" / "tiny-qwen2"
SMALL = "small trained models"
LOSSY = [name for name, row in limits_table()["limits"].items() if row["nmse"] > 0]


def test_every_number_names_a_source_that_is_described():
    table = limits_table()
    assert table["version"] >= 1
    assert max(map(int, table["history"])) == table["version"], "a new version says what is new"
    for name, row in table["limits"].items():
        assert {"nmse", "source"} <= set(row) <= {"nmse", "source", "few_values"}, name
        assert table["sources"][row["source"]], name
        assert (row["nmse"] == 0) == (row["source"] == "exact"), name


@pytest.mark.parametrize("name", sorted((DECODABLE & QUANTISED) - {"F4"}))
def test_every_block_type_that_is_decoded_has_a_limit(name):
    """Not F4: elements of SafeTensors whose scales are another tensor, so that they alone have no error."""
    assert 0 < limit_for(name, "BF16") < 1, "an error of 1 is that of all zeros"
    assert behaviour_limits(name).kld > 0


def test_ternary_types_have_a_limit_above_what_was_measured_and_below_all_zeros():
    """0.7165: the largest error of llama.cpp's quantiser on the rows of the other measured limits."""
    for name in ("TQ1_0", "TQ2_0"):
        assert 0.7165 < limit_for(name, "BF16", family="qwen2") == limit_for(name) < 1
        assert limits_table()["behaviour"]["like"][name] == "Q2_K"


def test_fewer_bits_never_get_a_smaller_limit():
    order = ["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K"]
    limits = [limit_for(name) for name in order]
    assert limits == sorted(limits)


@pytest.mark.parametrize(("source", "stored"), [(a, b) for a, types in EXACT.items() for b in sorted(types)])
def test_the_same_or_a_wider_float_must_be_exact(source, stored):
    assert limit_for(stored, source) == 0


@pytest.mark.parametrize("name", LOSSY)
def test_the_same_type_must_be_exact_and_another_source_gets_the_limit(name):
    assert limit_for(name, name) == 0
    assert limit_for(name, "F32") == limit_for(name) > 0


@pytest.mark.parametrize(("stored", "source"), [("F16", "BF16"), ("BF16", "F16"), ("F16", "F32"), ("F32", "Q8_0")])
def test_what_does_not_hold_every_value_of_the_source_gets_the_limit_of_its_type(stored, source):
    assert limit_for(stored, source) == limits_table()["limits"][stored]["nmse"]


@pytest.mark.parametrize(("name", "bits"), [("F16", 11), ("BF16", 8)])
@pytest.mark.parametrize(("count", "few"), [(1, True), (1024, True), (1025, False), (None, False)])
def test_few_values_have_the_bound_of_rounding(name, bits, count, few):
    row = limits_table()["limits"][name]
    assert limit_for(name, "F32", count) == (row["few_values"]["nmse"] if few else row["nmse"])
    bound = 2.0 ** (-2 * bits)
    assert bound <= row["few_values"]["nmse"] <= 1.01 * bound
    assert limit_for(name, name, count) == 0


@pytest.mark.parametrize("name", ["F16", "BF16"])
def test_a_vector_of_the_worst_values_is_within_its_bound_and_a_coarser_one_is_not(name):
    bits = {"F16": 11, "BF16": 8}[name]
    worst = numpy.full(34, 1 + 2.0**-bits * 0.999, numpy.float32)
    stored = decode(name, numpy.frombuffer(encode(name, worst), numpy.uint8), worst.shape)
    error = tensor_error("w", worst, stored).nmse
    assert limits_table()["limits"][name]["nmse"] < error <= limit_for(name, "F32", 34)
    assert not tensor_error("w", worst, worst + numpy.float32(2.0 ** (1 - bits))).nmse <= limit_for(name, "F32", 34)


def test_a_type_without_a_limit_is_one_line():
    with pytest.raises(LimitError, match=r"^limits.json: no NMSE limit for type Q9_9; known: F64, .*source$") as error:
        limit_for("Q9_9", "BF16")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", LOSSY)
@pytest.mark.parametrize(("share", "within"), [(0.99, True), (1.01, False)])
def test_noise_just_below_a_limit_is_within_and_just_above_is_not(name, share, within):
    generator = numpy.random.default_rng(3)
    source = generator.standard_t(4, (64, 1024))
    noise = generator.standard_normal(source.shape)
    noise *= numpy.sqrt(share * limit_for(name) * (source**2).sum() / (noise**2).sum())
    # In float64: float32 would round away part of the smallest noise.
    assert (tensor_error("w", source, source + noise).nmse <= limit_for(name)) is within


def test_one_bit_of_one_value_is_above_an_exact_limit():
    source = numpy.ones((8, 8), dtype=numpy.float32)
    target = source.copy()
    target[3, 4] = numpy.nextafter(numpy.float32(1), numpy.float32(2))
    assert tensor_error("w", source, source).nmse == limit_for("F32", "BF16")
    assert tensor_error("w", source, target).nmse > limit_for("F32", "BF16")


@pytest.mark.parametrize("name", ["F16", "BF16", "Q8_0"])
def test_our_own_encoders_stay_within_the_limit_and_need_more_than_a_tenth_of_it(name):
    source = numpy.random.default_rng(5).standard_t(4, (64, 1024)).astype(numpy.float32)
    raw = numpy.frombuffer(bytes(encode(name, source)), dtype=numpy.uint8)
    nmse = tensor_error("w", source, decode(name, raw, source.shape)).nmse
    assert limit_for(name) / 10 < nmse <= limit_for(name)


@pytest.mark.parametrize(
    "name", [name for name, row in limits_table()["limits"].items() if row["source"] == "measured"]
)
def test_a_measured_limit_is_twice_its_noise_floor(name):
    assert limit_for(name) == pytest.approx(ABOVE_FLOOR * noise_floor(name), rel=0.02)


def test_floors_name_what_they_were_measured_on_and_lie_below_their_limits():
    for family, row in limits_table()["noise_floor"].items():
        assert row["measured_on"]
        for name, floor in row["nmse"].items():
            assert noise_floor(name, family) == floor
            assert ABOVE_FLOOR * floor <= limit_for(name, family=family) * 1.001, (family, name)
    assert noise_floor("Q8_0", "nonesuch") is None
    assert noise_floor("IQ1_S") is None
    assert limit_for("Q8_0", family="nonesuch") == limit_for("Q8_0")


@pytest.mark.parametrize(("share", "grows"), [(0.499, False), (0.501, True)])
def test_a_family_that_is_noisier_than_others_has_a_limit_of_its_own(monkeypatch, share, grows):
    floors = {"measured_on": "x", "nmse": {"Q8_0": share * limit_for("Q8_0")}}
    monkeypatch.setitem(limits_table()["noise_floor"], "noisy", floors)
    assert (limit_for("Q8_0", "F32", family="noisy") > limit_for("Q8_0", "F32")) is grows
    assert limit_for("Q8_0", "Q8_0", family="noisy") == 0, "an exact copy stays exact"


def test_the_floor_of_the_bundled_model_is_measured_again(tmp_path):
    """Each number of the row, within the digits that it has."""
    with open_artifact(TINY, "safetensors") as source:
        for dtype in ("q8_0", "q4_1", "q4_k"):
            name = dtype.upper()
            with open_artifact(derive(TINY, "gguf", cache=tmp_path, dtype=dtype)) as made:
                matrices = [n for n in source.tensors.names() if len(source.tensors.entry(n).shape) > 1]
                found = max(error.nmse for error in compare_all(source.tensors, made.tensors, matrices))
            assert found == pytest.approx(noise_floor(name, source.config.architecture), rel=0.02), name


def test_limits_of_behaviour_are_above_what_was_measured_of_every_family():
    behaviour = limits_table()["behaviour"]
    assert set(behaviour["limits"]) >= {"F32", "BF16", "Q8_0", "Q4_K"}
    for family, row in behaviour["noise_floor"].items():
        assert row["measured_on"]
        # Small models read texts that they never learnt; their noise is the larger and the limit not made from it.
        times = 2 if family == SMALL else 2.9
        for name, floor in row["kld"].items():
            assert behaviour_limits(name).kld >= times * floor, (family, name)


@pytest.mark.parametrize("name", ["Q8_0", "Q6_K", "Q5_0", "Q4_0", "Q3_K", "Q2_K"])
def test_a_limit_of_divergence_is_three_times_the_widest_floor(name):
    floors = limits_table()["behaviour"]["noise_floor"]
    widest = max(row["kld"].get(name, 0) for family, row in floors.items() if family != SMALL)
    assert behaviour_limits(name).kld == pytest.approx(3 * widest, rel=0.02)
