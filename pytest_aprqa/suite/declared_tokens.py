"""Special tokens as both sides declare them: the id that begins a text, and which tokens no answer may show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_aprqa.models.token_battery import TokenProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.models.tokenizer import TokenizerDeclaration

BOS_CAUSE = "another BOS id: a template or engine that writes it begins every text with the wrong token"
END_CAUSE = "another EOS id: engines and templates that ask for one end token take the wrong one"
TEMPLATES_CAUSE = "two chat templates that differ under two keys: engines take one or the other"
NAMED_CAUSE = "the chat template of this name is lost or another: requests with tools get the default one"
NAMED_KEY = "tokenizer.chat_template."
SHOWN_CAUSE = "control tokens are no longer special: engines show them in answers and take them from a user's text"
HIDDEN_CAUSE = "ordinary added tokens became special: engines drop them from answers"
SHOWN = 5


def special_token_problems(source: OpenArtifact, target: OpenArtifact) -> list[TokenProblem]:
    """What the target declares otherwise than the source folder. ModelError: a companion that cannot be read."""
    begins, ends = _begin_problems(source, target), _end_problems(source, target)
    kinds = _kind_problems(source.tokenizer, target.tokenizer)
    matches = _match_problems(source.tokenizer, target.tokenizer)
    return [*begins, *ends, *kinds, *matches, *_template_problems(target), *_named_template_problems(source, target)]


def _template_problems(target: OpenArtifact) -> Iterator[TokenProblem]:
    """APR metadata has room for the chat template under two keys: with two templates it says nothing."""
    if target.format != "apr":
        return
    first, second = (target.file.metadata.get(key) for key in ("tokenizer.chat_template", "chat_template"))
    if isinstance(first, str) and isinstance(second, str) and first != second:
        lengths = [f"{len(one)} characters" for one in (first, second)]
        yield TokenProblem("chat_template", -1, lengths[0], lengths[1], TEMPLATES_CAUSE)


def _named_template_problems(source: OpenArtifact, target: OpenArtifact) -> Iterator[TokenProblem]:
    """Templates beside the default one (`tool_use`, `rag`), which engines take when a request asks for them."""
    if source.format != "safetensors" or target.format == "apr":  # APR has no room for them
        return
    theirs = _named_templates(target)
    for name, template in _named_templates(source).items():
        found = theirs.get(name)
        if found != template:
            told = "none" if found is None else f"{len(found)} characters"
            yield TokenProblem(f"chat template {name!r}", -1, f"{len(template)} characters", told, NAMED_CAUSE)


def _named_templates(artifact: OpenArtifact) -> dict[str, str]:
    """Name -> template of all but the default one."""
    from pytest_aprqa.models.tokenizer_folder import companion_json

    if artifact.format == "gguf":
        keys = {key: key.removeprefix(NAMED_KEY) for key in artifact.file.metadata if key.startswith(NAMED_KEY)}
        return {name: str(artifact.file.metadata[key]) for key, name in keys.items()}
    files = sorted((artifact.folder / "additional_chat_templates").glob("*.jinja"))
    found = {path.stem: path.read_text(encoding="utf-8", errors="replace") for path in files}
    declared = companion_json(artifact.folder / "tokenizer_config.json").get("chat_template")
    if isinstance(declared, list) and not (artifact.folder / "chat_template.jinja").is_file():
        rows = [one for one in declared if isinstance(one, dict) and isinstance(one.get("template"), str)]
        found |= {str(one.get("name")): one["template"] for one in rows if one.get("name") != "default"}
    return found


def _begin_problems(source: OpenArtifact, target: OpenArtifact) -> Iterator[TokenProblem]:
    """Each BOS id that the target declares must be one that the source declares somewhere."""
    if source.format != "safetensors":
        return
    expected = {one for one in _begin_ids(source).values() if one is not None}
    if source.tokenizer.bos_id is not None:
        expected.add(source.tokenizer.bos_id)
    if not expected:
        return
    for where, found in _begin_ids(target).items():
        if found is not None and found not in expected:
            words = [
                _named(target.tokenizer, found),
                ", ".join(_named(source.tokenizer, one) for one in sorted(expected)),
            ]
            yield TokenProblem(where, -1, words[1], words[0], BOS_CAUSE)


def _end_problems(source: OpenArtifact, target: OpenArtifact) -> Iterator[TokenProblem]:
    """The one EOS id that the target's tokenizer declares is that of the source's tokenizer, or of its config.json."""
    if source.format != "safetensors" or not target.tokenizer.eos_declared:
        return
    expected = _ends_of(source, "generation_config.json")[:1] + _ends_of(source, "config.json")
    expected += [source.tokenizer.eos_id] if source.tokenizer.eos_id is not None else []
    where = {"gguf": "tokenizer.ggml.eos_token_id", "apr": "tokenizer.eos_token_id"}.get(target.format, "eos_token")
    found = {where: [target.tokenizer.eos_id] if target.tokenizer.eos_id is not None else []}
    if target.format == "safetensors":
        # Engines that have no use for generation_config.json end where config.json says.
        allowed = _ends_of(source, "generation_config.json")
        found["config.json: eos_token_id"] = [i for i in _ends_of(target, "config.json") if i not in allowed]
    wanted = ", ".join(_named(source.tokenizer, one) for one in sorted(set(expected)))
    for place, ids in found.items():
        for one in ids:
            if expected and one not in expected:
                yield TokenProblem(place, -1, wanted, _named(target.tokenizer, one), END_CAUSE)


def _ends_of(artifact: OpenArtifact, name: str) -> list[int]:
    """The EOS ids that a companion file of a folder names."""
    from pytest_aprqa.models.tokenizer_folder import companion_json

    value = companion_json(artifact.folder / name).get("eos_token_id")
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, int) and not isinstance(one, bool)]


def _begin_ids(artifact: OpenArtifact) -> dict[str, int | None]:
    """Where the artifact names its BOS -> the id, None where it names none."""
    from pytest_aprqa.models.tokenizer_folder import companion_json

    if artifact.format != "safetensors":
        key = "tokenizer.ggml.bos_token_id" if artifact.format == "gguf" else "tokenizer.bos_token_id"
        return {key: artifact.tokenizer.bos_id}
    found: dict[str, int | None] = {}
    for name in ("generation_config.json", "config.json"):
        value = companion_json(artifact.folder / name).get("bos_token_id")
        found[f"{name}: bos_token_id"] = value if isinstance(value, int) and not isinstance(value, bool) else None
    token: Any = companion_json(artifact.folder / "tokenizer_config.json").get("bos_token")
    text = token.get("content") if isinstance(token, dict) else token
    found["tokenizer_config.json: bos_token"] = artifact.tokenizer.index.get(text) if isinstance(text, str) else None
    return found


def _named(tokenizer: TokenizerDeclaration, number: int) -> str:
    text = repr(tokenizer.tokens[number][:40]) if 0 <= number < tokenizer.vocab_size else "no token"
    return f"{number} ({text})"


def _kind_problems(source: TokenizerDeclaration, target: TokenizerDeclaration) -> Iterator[TokenProblem]:
    """Tokens under the same id and text that are control on one side alone; converters may make others control too."""
    from pytest_aprqa.models.tokenizer import CONTROL, NORMAL, USER_DEFINED

    if not (source.types_declared and target.types_declared):
        return
    rows = zip(source.tokens, source.token_types, target.tokens, target.token_types, strict=False)
    same = [(name, kind, other) for name, kind, text, other in rows if name == text and kind != other]
    shown = [name for name, kind, other in same if kind == CONTROL and other in (NORMAL, USER_DEFINED)]
    if shown:
        told = f"special: false for {', '.join(shown[:SHOWN])}"
        yield TokenProblem("special tokens", -1, f"{len(shown)} control tokens", told, SHOWN_CAUSE)
    hidden = [name for name, kind, other in same if kind == USER_DEFINED and other == CONTROL]
    if hidden and target.hf_json is not None:  # llama.cpp's converter makes what looks like a control token one
        told = f"special: true for {', '.join(hidden[:SHOWN])}"
        yield TokenProblem("special tokens", -1, f"{len(hidden)} ordinary added tokens", told, HIDDEN_CAUSE)


def _match_problems(source: TokenizerDeclaration, target: TokenizerDeclaration) -> Iterator[TokenProblem]:
    """What splits texts otherwise on one side alone: dropout, added tokens that eat spaces or want whole words."""
    from pytest_aprqa.models.token_causes import DROPOUT, MATCHING, dropout_of, matched_otherwise

    expected, found = dropout_of(source), dropout_of(target)
    if expected != found:
        yield TokenProblem("model.dropout", -1, str(expected), str(found), DROPOUT)
    differing = matched_otherwise(source, target)
    for text, (rule, other) in list(differing.items())[:1]:
        told = f"{text}: {other}; {len(differing)} tokens"
        yield TokenProblem("added tokens", -1, f"{text}: {rule}", told, MATCHING)
