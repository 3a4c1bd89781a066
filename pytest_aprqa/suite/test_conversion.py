"""Conversion as an operation: every edge between the formats, round trips, two ways to one format, done twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_aprqa.suite.findings import listed, without_folders

if TYPE_CHECKING:
    from pytest_aprqa.conversions import Conversion
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.model_under_test import ModelUnderTest
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.playbooks.playbook import Playbook

# Bytes of SafeTensors up to which every edge is converted; above, only when the playbook's tier is deep.
CONVERTED_UP_TO = 256 << 20


@pytest.mark.gate("F-CONV-{conversion}", severity="P0")
def test_conversion_preserves_the_model(
    conversion: Conversion, model: ModelUnderTest, playbook: Playbook, observe: Observe
) -> None:
    """The end of the path has the names, declared numbers, values and tokens that its start (or the other way) has."""
    from pytest_aprqa.lifecycle.errors import LifecycleError
    from pytest_aprqa.suite.same_model import compare_models

    try:
        size = model.artifact(conversion.path[0]).path.stat().st_size
        start = model.opened(conversion.path[0])
        _ = (start.config, start.tensors, start.tokenizer.built)
    except (OSError, ValueError, RuntimeError) as error:
        pytest.skip(f"blocked: no sound {conversion.path[0]} file to convert: {without_folders(str(error))}")
    if size > CONVERTED_UP_TO and playbook.metadata.get("tier") != "deep":
        pytest.skip(f"the file has {size} bytes, above {CONVERTED_UP_TO} only a playbook of tier deep converts it")
    observe("path", " -> ".join(conversion.path))
    observe("dtype", conversion.dtype)
    observe.advise("the converter of the last format in the path loses or changes what the first finding names")
    try:
        with model.converted(conversion.like) as like, model.converted(conversion.path, conversion.dtype) as end:
            result = compare_models(like, end, through=(*conversion.like, *conversion.path))
    except LifecycleError as error:
        pytest.skip(f"the converter refuses: {without_folders(str(error))}")
    for difference in result.differences:
        observe.finding(difference.where, difference.found, difference.expected, difference.cause)
    observe("tensors_compared", result.tensors, limit=">= 1", passed=result.tensors > 0)
    observe("tokens_compared", result.tokens, limit=">= 1", passed=result.tokens > 0)
    observe("largest_nmse", result.worst[1], limit=result.worst[2])
    observe("differences", len(result.differences), limit=0, passed=not result.differences)
    assert result.tensors, "no tensor in common: nothing was compared"
    assert result.tokens, "no token was compared"
    told = [str(one) for one in result.differences]
    way = " -> ".join(conversion.path) + (f" as {conversion.dtype}" if conversion.dtype != "native" else "")
    assert not told, f"{way}: {len(told)} differences: {listed(told)}"


@pytest.mark.gate("F-CONV-CARD-001", severity="P0")
@pytest.mark.depth("structure")
def test_no_tensor_is_lost(declared_artifact: OpenArtifact, reference: OpenArtifact, observe: Observe) -> None:
    """The artifact has at least as many tensors as its source; a tied head counts on neither side."""
    from pytest_aprqa.suite.same_model import HEAD

    counts = []
    for one in (reference, declared_artifact):
        names = set(one.tensors.names())
        counts.append(len(names - {HEAD}) if one.config.tied_embeddings else len(names))
    source, found = counts
    observe("source_tensors", source, limit=">= 1", passed=source > 0)
    observe("tensors", found, limit=f">= {source}", passed=found >= source)
    if found < source:
        observe.finding("tensors", found, source, "tensors were lost or fused")
    assert source, "no tensor in the source: nothing was compared"
    assert found >= source, f"Tensor cardinality loss: {source} → {found}"


@pytest.mark.gate("F-CONV-NAME-001", severity="P0")
@pytest.mark.depth("structure")
def test_no_tensor_is_renamed_or_fused(
    declared_artifact: OpenArtifact, reference: OpenArtifact, observe: Observe
) -> None:
    """Every tensor name of the source is there; separate q, k and v were not fused into one."""
    from pytest_aprqa.suite.same_model import name_differences

    missing, extra = name_differences(reference, declared_artifact)
    compared = len(reference.tensors.names())
    fused = any("qkv" in name for name in extra) and any(f".{x}_proj." in name for name in missing for x in "qkv")
    problem = "QKV fusion detected" if fused else "Tensor name divergence"
    cause = "query, key and value were fused" if fused else "the tensor was lost or renamed"
    observe("names_compared", compared, limit=">= 1", passed=compared > 0)
    observe("names_missing", len(missing), limit=0, passed=not missing)
    for name in missing:
        observe.finding(name, f"unexpected: {listed(extra, 2)}" if extra else "missing", "the source's name", cause)
    assert compared, "no tensor name in the source: nothing was compared"
    assert not missing, f"{problem}: {listed(missing, 5)}" + (f"; unexpected: {listed(extra, 5)}" if extra else "")


@pytest.mark.gate("F-CONV-IDEM-001", severity="P0")
def test_conversion_is_reproducible(
    artifact: OpenArtifact, model: ModelUnderTest, tmp_path_factory: pytest.TempPathFactory, observe: Observe
) -> None:
    """Deriving the artifact again, in an empty cache, gives a byte-identical file."""
    from pytest_aprqa.formats.tensor_file import sha256_of
    from pytest_aprqa.lifecycle.derive import derive

    mine = model.artifact(artifact.file.format)
    if mine.origin != "derived":
        pytest.skip(f"the {artifact.file.format} file is published, not derived by us")
    source = model.source().path
    folder = source if source.is_dir() else source.parent
    again = derive(folder, artifact.file.format, cache=tmp_path_factory.mktemp("again"))
    # Of the bytes as they lie now: the artifact's own digest is as old as its description.
    first, second = sha256_of([mine.path]), sha256_of([again.path])
    observe("sha256", second, limit=first, passed=second == first)
    if second != first:
        observe.finding("sha256", second, first, "the conversion depends on more than its source")
    assert second == first, f"sha256 {first[:16]} first, {second[:16]} again"
