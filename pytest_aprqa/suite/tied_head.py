"""A head that the source ties to its embedding and a file stores all the same: one model where the values are one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_aprqa.models.artifact import OpenArtifact

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def is_stored_copy(source: OpenArtifact, target: OpenArtifact) -> bool:
    """True where the target's head of its own may be a copy of the tied one, and the target does not say otherwise.

    GGUF has no flag that would say so; the `apr` program writes the copy without its flag.
    """
    silent = target.format == "gguf" or (target.format == "apr" and target.file.metadata.get("tied_embeddings") is None)
    return source.config.tied_embeddings and silent and HEAD in target.tensors.names()


def with_head(source: OpenArtifact, target: OpenArtifact) -> OpenArtifact:
    """The source; where its head is tied and the target stores one, with the embedding also under the head's name.

    Engines that find a head in a GGUF or APR file compute with it, whatever the declaration says.
    """
    from pytest_aprqa.formats.canonical import CanonicalTensors
    from pytest_aprqa.models.artifact import OpenArtifact

    config, present = source.config, source.tensors.names()
    asked = config.tied_embeddings and target.format != "safetensors" and HEAD in target.tensors.names()
    if not asked or HEAD in present or EMBEDDING not in present:
        return source
    tensors = CanonicalTensors(source.file, config.architecture, config.num_heads, config.num_kv_heads)
    tensors.also_named(HEAD, EMBEDDING)
    seen = OpenArtifact(source.file)
    seen.__dict__ |= {"config": config, "tensors": tensors}
    return seen
