"""Arrays between child and parent: by memory or as text, the same values; what is cut short is refused."""

import os

import numpy as np
import pytest

from pytest_aprqa.engines.errors import EngineError
from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.engines.shared_arrays import TEXT_UP_TO, ArrayReader, ArrayWriter, open_memory
from pytest_aprqa.models.artifact import describe_artifact


@pytest.fixture
def memory():
    descriptor = open_memory()
    if descriptor is None:
        pytest.skip("this system has no anonymous memory with a descriptor")
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("values", [1, TEXT_UP_TO // 4, TEXT_UP_TO // 4 + 1, 1 << 20])
def test_values_arrive_by_memory_and_as_text(values, memory):
    array = np.random.default_rng(values).standard_normal((values, 1)).astype(np.float32)
    for descriptor in (memory, None):
        packed = ArrayWriter(descriptor).packed(array)
        assert ("offset" in packed) == (descriptor is not None and array.nbytes > TEXT_UP_TO)
        found = ArrayReader(descriptor).unpacked(packed)
        assert found.shape == array.shape
        assert np.array_equal(found, array)


def test_arrays_of_one_answer_lie_one_after_the_other_and_the_next_answer_begins_again(memory):
    arrays = [np.full((3000, 5), number, np.float32) for number in range(3)]
    writer, reader = ArrayWriter(memory), ArrayReader(memory)
    packed = [writer.packed(array) for array in arrays]
    assert [one["offset"] for one in packed] == [0, 60_000, 120_000]
    first = reader.unpacked(packed[0])
    for array, one in zip(arrays, packed, strict=True):
        assert np.array_equal(reader.unpacked(one), array)
    writer.begin()
    assert writer.packed(arrays[2])["offset"] == 0
    assert np.array_equal(first, arrays[0]), "a copy: what the memory holds later does not change it"


def test_what_need_not_last_is_the_memory_itself(memory):
    arrays = [np.full((3000, 5), number, np.float32) for number in range(2)]
    writer, reader = ArrayWriter(memory), ArrayReader(memory)
    packed = [writer.packed(array) for array in arrays]
    found = [reader.unpacked(one, lasting=False) for one in packed]
    for array, one in zip(arrays, found, strict=True):
        assert np.array_equal(one, array)
        assert not one.flags.writeable
    writer.begin()
    writer.packed(arrays[1])
    assert np.array_equal(found[0], arrays[1]), "the next answer is written over it"


def test_memory_that_grew_is_seen_and_what_was_seen_before_stays(memory):
    writer, reader = ArrayWriter(memory), ArrayReader(memory)
    small, large = np.full(10_000, 1, np.float32), np.full(90_000, 2, np.float32)
    before = reader.unpacked(writer.packed(small), lasting=False)
    assert np.array_equal(reader.unpacked(writer.packed(large), lasting=False), large)
    assert np.array_equal(before, small)


def test_an_array_that_is_cut_short_is_refused(memory):
    ArrayWriter(memory).packed(np.zeros(10_000, np.float32))
    reader = ArrayReader(memory)
    assert reader.unpacked({"shape": [10_000], "offset": 0}).size == 10_000
    with pytest.raises(ValueError, match="cut short by 4 bytes"):
        reader.unpacked({"shape": [10_001], "offset": 0})
    with pytest.raises(ValueError, match="cut short by 20000 bytes"):
        ArrayReader(None).unpacked({"shape": [5000], "offset": 0})


def test_rows_from_a_position_on_are_those_of_the_whole(random_qwen2_folder):
    ids = list(range(5, 45))
    with EngineHost("torch", threads=1) as host:
        host.load(describe_artifact(random_qwen2_folder, "safetensors"), timeout_s=120)
        whole = host.logits(ids, timeout_s=60)
        half = host.logits(ids, timeout_s=60, first=20)
        for first in (-1, 40):
            with pytest.raises(EngineError, match=f"from position {first} of 40: limit 0 to 39"):
                host.logits(ids, timeout_s=60, first=first)
    assert whole.shape[0] == 40
    assert whole.nbytes > TEXT_UP_TO
    np.testing.assert_allclose(half, whole[20:], rtol=1e-5, atol=1e-5)
