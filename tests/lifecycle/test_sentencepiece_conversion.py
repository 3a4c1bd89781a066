"""SentencePiece tokenizers of a folder as GGUF: the same ids, or a refusal that names what parts them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_aprqa.lifecycle.conversion_paths import convert
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.lifecycle.sentence_piece import LONGEST_TOKEN
from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.models.scored_merges import ScoredMerges
from pytest_aprqa.models.token_battery import BATTERY, compare_tokenizers
from pytest_aprqa.models.tokenizer import TokenizerDeclaration
from pytest_aprqa.models.tokenizer_folder import tokenizer_from_hf
from tests.lifecycle.sentence_piece_folders import SPACE, Change, gemma_runs, phi_3_flags, sentence_piece_folder

EXTRA = ["a<tool_call>b", " <tool_call>  x", "</s> x</s>y", "<unk>a <unk> b", "2024 aaaaaaa ------ 🙂 Größe\ufffd"]


def derived_tokenizer(folder: Path, cache: Path) -> TokenizerDeclaration:
    with open_artifact(derive(folder, "gguf", cache=cache).path) as opened:
        return opened.tokenizer


@pytest.mark.parametrize(("prefix", "spaced"), [("normalizer", True), ("none", False), ("never", False)])
def test_ids_of_the_derived_file_are_the_sources(prefix: str, spaced: bool, tmp_path: Path) -> None:
    folder = sentence_piece_folder(tmp_path / "m", prefix=prefix)
    source, target = tokenizer_from_hf(folder), derived_tokenizer(folder, tmp_path / "c")
    assert (target.kind, target.add_space_prefix, target.add_bos, target.closing_id) == ("llama", spaced, True, None)
    assert (target.bos_id, target.eos_id, target.unknown_id) == (1, 2, 0)
    assert target.chat_template == source.chat_template is not None
    result = compare_tokenizers(source, target, [*BATTERY, *EXTRA], types_required=True)
    assert [str(problem) for problem in result.problems] == []
    assert result.tokens > 4000
    longest = max(len(source.tokens[number]) for text in BATTERY for number in source.encode(text))
    assert longest > 3, "no merge of merges was seen"
    assert [text for text in EXTRA if ScoredMerges(target).encode(text) != source.encode(text)] == []


def test_types_and_scores_are_those_of_llama_cpp(tmp_path: Path) -> None:
    folder = sentence_piece_folder(tmp_path / "m", extra_rows=3)
    target = derived_tokenizer(folder, tmp_path / "c")
    assert target.token_types[:4] == [2, 3, 3, 6]
    assert target.token_types.count(6) == 256
    assert target.token_types[target.index["<tool_call>"]] == 4
    assert target.token_types[-3:] == [5, 5, 5]
    document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    made = list(dict.fromkeys("".join(merge) for merge in document["merges"]))
    assert len(made) > 100
    assert [target.scores[target.index[token]] for token in made] == [-float(n) for n in range(len(made))]
    assert target.scores[target.index[SPACE]] == 0.0


def test_check_against_the_folder_refutes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pytest_aprqa.cli.main import call

    folder = sentence_piece_folder(tmp_path / "m")
    path = derive(folder, "gguf", cache=tmp_path / "c").path
    assert call(["check", str(path), "--against", str(folder), "--depth", "tokens", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["verdict"], answer["findings"]) == ("not refuted", [])
    assert "F-CONTRACT-I5-001" in {row["gate"] for row in answer["tried"]}


def test_a_gguf_file_becomes_a_folder_and_a_gguf_file_again(tmp_path: Path) -> None:
    folder = sentence_piece_folder(tmp_path / "m")
    again = convert(folder, ["gguf", "safetensors", "gguf"], tmp_path / "work")
    with open_artifact(again) as opened:
        assert compare_tokenizers(tokenizer_from_hf(folder), opened.tokenizer).problems == []


@pytest.mark.parametrize("kind", ["sentencepiece", "Unigram", "WordPiece"])
def test_what_apr_cannot_declare_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    folder = sentence_piece_folder(tmp_path / "m")
    if kind != "sentencepiece":
        _other_kind(folder / "tokenizer.json", kind)
        with pytest.raises(LifecycleError, match=rf"model\.type: a tokenizer of this kind cannot .*found {kind}"):
            derive(folder, "gguf", cache=tmp_path / "c")
    where = r"model\.byte_fallback: a file of this format cannot declare SentencePiece: GGUF can"
    with pytest.raises(LifecycleError, match=where if kind == "sentencepiece" else r"model\.type: a tokenizer of this"):
        derive(folder, "apr", cache=tmp_path / "c")


def _other_kind(path: Path, kind: str) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    names = list(document["model"]["vocab"])
    if kind == "Unigram":
        document["model"] = {"type": kind, "unk_id": 0, "vocab": [[name, -1.0] for name in names]}
    else:
        document["model"] = {
            "type": kind, "unk_token": "<unk>", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": document["model"]["vocab"],
        }  # fmt: skip
    path.write_text(json.dumps(document), encoding="utf-8")


def with_merges(*merges: tuple[str, str], tokens: tuple[str, ...] = ("q", "z", "k")) -> Change:
    """Adds tokens, merges, and the tokens that they make, before the added token that stands last."""

    def change(document: dict[str, Any]) -> None:
        vocabulary, last = document["model"]["vocab"], document["added_tokens"][-1]
        for name in [*tokens, *("".join(pair) for pair in merges)]:
            if name not in vocabulary:
                vocabulary[name] = last["id"]
                last["id"] += 1
        document["model"]["merges"] += [list(pair) for pair in merges]

    return change


def setting(name: str, value: object) -> Change:
    return lambda document: document["model"].__setitem__(name, value)


def part(name: str, value: object) -> Change:
    return lambda document: document.__setitem__(name, value)


def flagged(flag: str) -> Change:
    return lambda document: document["added_tokens"][-1].__setitem__(flag, True)


QQ, QZ = ("q", "q"), ("q", "z")
FIRST, SECOND, OTHER = ("q", "qz"), ("qq", "z"), ("z", "k")
PROCESSOR = {
    "type": "TemplateProcessing", "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
    "special_tokens": {t: {"id": t, "ids": [i], "tokens": [t]} for i, t in enumerate(("<unk>", "<s>", "</s>"))},
}  # fmt: skip


def around(before: list[str], behind: list[str]) -> Change:
    rows = (
        [{"SpecialToken": {"id": t, "type_id": 0}} for t in before],
        [{"SpecialToken": {"id": t, "type_id": 0}} for t in behind],
    )
    return part("post_processor", PROCESSOR | {"single": [*rows[0], PROCESSOR["pair"][0], *rows[1]]})


@pytest.mark.parametrize(
    ("change", "prefix", "message"),
    [
        (with_merges(QQ, QZ, FIRST, SECOND, OTHER), "none", None),
        (with_merges(QQ, QZ, FIRST, OTHER, SECOND), "none", "tokenizer: a GGUF file splits 'qqzk' otherwise"),
        (with_merges(("q", "k")), "none", None),
        (with_merges(tokens=("q", "k", "qk")), "none", "tokenizer: a GGUF file splits 'qk' otherwise"),
        (setting("dropout", 0.0), "none", None),
        (setting("dropout", 0.1), "none", "model.dropout: GGUF cannot declare this setting .found 0.1"),
        (setting("ignore_merges", True), "none", "model.ignore_merges: GGUF cannot declare"),
        (setting("end_of_word_suffix", "w"), "none", "model.end_of_word_suffix: GGUF cannot declare"),
        (part("normalizer", {"type": "NFC"}), "none", "normalizer: GGUF cannot declare these steps"),
        (part("normalizer", None), "none", "pre_tokenizer: GGUF cannot declare these steps"),
        (part("pre_tokenizer", {"type": "Whitespace"}), "none", "pre_tokenizer: GGUF cannot declare these steps"),
        (None, "always", "tokenizer: a GGUF file splits ' ' otherwise"),
        (None, "first", "tokenizer: a GGUF file splits ' ' otherwise"),
        (flagged("rstrip"), "none", "tokenizer: a GGUF file splits 'a <tool_call>"),
        (flagged("lstrip"), "none", "tokenizer: a GGUF file splits 'a <tool_call>"),
        (flagged("single_word"), "none", "tokenizer: a GGUF file splits 'a<tool_call>b' otherwise"),
        (flagged("normalized"), "none", None),
        (flagged("normalized"), "normalizer", "tokenizer: a GGUF file splits '<tool_call>"),
        (gemma_runs, "none", None),
        (around([], []), "none", None),
        (around(["<s>"], ["</s>"]), "none", None),
        (around(["<s>"], ["<unk>"]), "none", "post_processor: puts other tokens than BOS and EOS around a text"),
        (with_merges(tokens=("\U0001f9ea" * LONGEST_TOKEN,)), "none", None),
        (with_merges(tokens=("\U0001f9ea" * (LONGEST_TOKEN + 1),)), "none", "too long .found 1025, limit 1024"),
        (lambda d: d["model"]["vocab"].__setitem__("<0xfe>", d["model"]["vocab"].pop("<0xFE>")), "none",
         "model.vocab: not every byte has a token .found 255, limit 256"),
        (with_merges(("q", " z"), tokens=("q", " z")), "none", "model.merges: a token with a space in it"),
    ],
)  # fmt: skip
def test_what_parts_the_two_ways_is_refused_by_name(
    change: Change | None, prefix: str, message: str | None, tmp_path: Path
) -> None:
    folder = sentence_piece_folder(tmp_path / "m", prefix=prefix, change=change)
    if message is not None:
        with pytest.raises(ValueError, match=message) as error:
            derive(folder, "gguf", cache=tmp_path / "c")
        assert "\n" not in str(error.value)
        assert "tokenizer.json" in str(error.value)
        return
    source, target = tokenizer_from_hf(folder), derived_tokenizer(folder, tmp_path / "c")
    texts = ["qqzk qqz qk qzk", "a<tool_call>b"]
    assert [target.encode(text) for text in texts] == [source.encode(text) for text in texts]


def test_bos_and_eos_of_the_post_processor_are_declared(tmp_path: Path) -> None:
    both = derived_tokenizer(sentence_piece_folder(tmp_path / "a", change=around(["<s>"], ["</s>"])), tmp_path / "c")
    none = derived_tokenizer(sentence_piece_folder(tmp_path / "b", change=around([], [])), tmp_path / "c")
    assert (both.encode("")[0], both.encode("a")[-1], both.add_bos, both.closing_id) == (1, 2, True, 2)
    assert (none.encode(""), none.add_bos, none.closing_id) == ([], False, None)


WHITE = ["<|user|>\n Hi", "<|endoftext|>\n Hi", "<tool_call> \t\n<|user|>  x", "</s> a", "<s> a"]


def test_white_space_behind_the_tokens_of_phi_3(tmp_path: Path) -> None:
    """llama.cpp drops it for a file whose name says Phi-3; the name is kept where the source does the same."""
    folder = sentence_piece_folder(tmp_path / "m", change=phi_3_flags, name="x/Phi-3-mini")
    source, target = tokenizer_from_hf(folder), derived_tokenizer(folder, tmp_path / "c")
    assert target.stripped_behind == {"</s>", "<tool_call>", "<|user|>"}
    assert [target.encode(text) for text in WHITE] == [source.encode(text) for text in WHITE]
    assert [ScoredMerges(target).encode(text) for text in WHITE] == [source.encode(text) for text in WHITE]
    other = sentence_piece_folder(tmp_path / "n", change=phi_3_flags, name="x/Mistral")
    with pytest.raises(LifecycleError, match="tokenizer: a GGUF file splits"):
        derive(other, "gguf", cache=tmp_path / "c")


def test_a_model_named_phi_3_whose_tokens_take_nothing_along_gets_another_name(tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        phi_3_flags(document)
        for added in document["added_tokens"]:
            added["rstrip"] = False

    folder = sentence_piece_folder(tmp_path / "m", change=change, name="x/Phi-3-mini")
    source, target = tokenizer_from_hf(folder), derived_tokenizer(folder, tmp_path / "c")
    assert target.stripped_behind == frozenset()
    assert [target.encode(text) for text in WHITE] == [source.encode(text) for text in WHITE]


def test_a_source_without_eos_is_refused(tmp_path: Path) -> None:
    folder = sentence_piece_folder(tmp_path / "m")
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        document = json.loads((folder / name).read_text(encoding="utf-8"))
        document = {key: value for key, value in document.items() if not key.startswith("eos")}
        (folder / name).write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(LifecycleError, match="eos_token: no EOS is declared, and engines end answers at id 2 then"):
        derive(folder, "gguf", cache=tmp_path / "c")
