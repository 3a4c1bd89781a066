"""Special tokens, sampling and card: each rule refuses what is another, and nothing that says the same otherwise."""

import json
import shutil

import pytest

from pytest_aprqa.lifecycle.conversion_paths import convert
from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.suite.card_claims import card_claims
from pytest_aprqa.suite.declared_tokens import special_token_problems
from pytest_aprqa.suite.generation_settings import ENDS, FILE, generation_settings
from tests.suite.test_other_declarations import with_key


@pytest.fixture(scope="module")
def gguf(random_qwen2_folder, tmp_path_factory):
    return convert(random_qwen2_folder, ["gguf"], tmp_path_factory.mktemp("gguf"))


def changed(folder, target, name, **fields):
    shutil.copytree(folder, target)
    path = target / name
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return target


def of(rule, source, target):
    with open_artifact(source) as first, open_artifact(target) as second:
        found = rule(first, second)
    if isinstance(found, dict):
        return {field: row[:2] for field, row in found.items() if not row[2]}
    return [(one.where, one.found, one.expected) for one in found]


def test_bos_may_be_any_that_the_source_declares(random_qwen2_folder, gguf, tmp_path):
    assert of(special_token_problems, random_qwen2_folder, gguf) == []
    source = changed(random_qwen2_folder, tmp_path / "two", "tokenizer_config.json", bos_token="<|im_start|>")
    assert of(special_token_problems, source, gguf) == []
    wrong = with_key(gguf, "tokenizer.ggml.bos_token_id", 11, tmp_path / "wrong.gguf")
    ((where, found, expected),) = of(special_token_problems, source, wrong)
    assert where == "tokenizer.ggml.bos_token_id"
    assert found.startswith("11 (")
    assert "<|im_start|>" in expected
    assert "<|endoftext|>" in expected
    none = changed(random_qwen2_folder, tmp_path / "none", "config.json", bos_token_id=None)
    assert of(special_token_problems, random_qwen2_folder, none) == []


def test_eos_is_the_one_that_the_source_calls_so(random_qwen2_folder, gguf, tmp_path):
    """The second end token of generation_config.json ends answers too, but is not what `eos_token` stands for."""
    files = ("config.json", FILE)
    own, ends = (json.loads((random_qwen2_folder / name).read_text())["eos_token_id"] for name in files)
    second = ends[1]
    wrong = with_key(gguf, "tokenizer.ggml.eos_token_id", second, tmp_path / "wrong.gguf")
    ((where, found, _),) = of(special_token_problems, random_qwen2_folder, wrong)
    assert (where, found.split(" ")[0]) == ("tokenizer.ggml.eos_token_id", str(second))
    both = changed(random_qwen2_folder, tmp_path / "both", "config.json", eos_token_id=[own, second])
    assert of(special_token_problems, both, wrong) == []
    assert of(special_token_problems, random_qwen2_folder, both) == []
    other = changed(random_qwen2_folder, tmp_path / "other", "config.json", eos_token_id=5)
    assert [row[0] for row in of(special_token_problems, random_qwen2_folder, other)] == ["config.json: eos_token_id"]


@pytest.mark.parametrize(
    ("flag", "value", "named"), [("lstrip", True, True), ("single_word", True, True), ("lstrip", False, False)]
)
def test_added_tokens_that_eat_spaces_are_named(random_qwen2_folder, tmp_path, flag, value, named):
    document = json.loads((random_qwen2_folder / "tokenizer.json").read_text())
    document["added_tokens"][-1][flag] = value
    name = document["added_tokens"][-1]["content"]
    other = changed(random_qwen2_folder, tmp_path / "other", "tokenizer.json", **document)
    expected = [("added tokens", f"{name}: {flag}; 1 tokens", f"{name}: as written")] if named else []
    assert of(special_token_problems, random_qwen2_folder, other) == expected


def test_two_templates_of_an_apr_file_are_one(random_qwen2_folder, tmp_path):
    from pytest_aprqa.defects.declarations import set_apr

    file = convert(random_qwen2_folder, ["apr"], tmp_path)
    assert of(special_token_problems, random_qwen2_folder, file) == []
    set_apr(chat_template="{{ messages }}", tokenizer__chat_template="{{ messages[0] }}")(file)
    assert [row[0] for row in of(special_token_problems, random_qwen2_folder, file)] == ["chat_template"]


def test_templates_beside_the_default_one_are_kept(random_qwen2_folder, gguf, tmp_path):
    """Command-R has one for tools and one for documents: `tokenizer.chat_template.NAME` of GGUF, or a folder."""
    from pytest_aprqa.defects.declarations import add_gguf

    rows = [{"name": "default", "template": "{{ a }}"}, {"name": "tool_use", "template": "{{ tools }}"}]
    source = changed(random_qwen2_folder, tmp_path / "source", "tokenizer_config.json", chat_template=rows)
    assert of(special_token_problems, random_qwen2_folder, source) == []
    lost = of(special_token_problems, source, random_qwen2_folder)
    assert [row[:2] for row in lost] == [("chat template 'tool_use'", "none")]
    folder = changed(random_qwen2_folder, tmp_path / "folder", "config.json")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates/tool_use.jinja").write_text("{{ tools }}")
    assert of(special_token_problems, source, folder) == []
    file = tmp_path / "named.gguf"
    shutil.copyfile(gguf, file)
    assert [row[1] for row in of(special_token_problems, source, file)] == ["none"]
    add_gguf(("tokenizer.chat_template.tool_use", "string", "{{ tools }} "))(file)
    assert [row[1] for row in of(special_token_problems, source, file)] == ["12 characters"]
    add_gguf(("tokenizer.chat_template.tool_use", "string", "{{ tools }}"))(file)
    assert of(special_token_problems, source, file) == []


def test_dropout_that_was_left_in_is_named(random_qwen2_folder, tmp_path):
    document = json.loads((random_qwen2_folder / "tokenizer.json").read_text())
    document["model"]["dropout"] = 0.1
    other = changed(random_qwen2_folder, tmp_path / "other", "tokenizer.json", **document)
    assert of(special_token_problems, random_qwen2_folder, other) == [("model.dropout", "0.1", "0.0")]
    assert of(special_token_problems, other, other) == []


def test_tokens_that_became_special_are_named_in_a_folder_alone(random_qwen2_folder, gguf, tmp_path):
    document = json.loads((random_qwen2_folder / "tokenizer.json").read_text())
    document["added_tokens"][-1]["special"] = False
    name = document["added_tokens"][-1]["content"]
    plain = changed(random_qwen2_folder, tmp_path / "plain", "tokenizer.json", **document)
    assert of(special_token_problems, random_qwen2_folder, plain)[0][1] == f"special: false for {name}"
    assert of(special_token_problems, plain, random_qwen2_folder)[0][1] == f"special: true for {name}"
    assert of(special_token_problems, plain, gguf) == []


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"temperature": 1.0, "top_p": 1}, {}),
        ({"temperature": 0.7}, {"temperature": (0.7, 1.0)}),
        ({"do_sample": True}, {"do_sample": (True, False)}),
        ({"eos_token_id": [349, 351]}, {}),
        ({"eos_token_id": 351}, {ENDS: ([351], [349, 351])}),
        ({"eos_token_id": [349, 351, 5]}, {ENDS: ([5, 349, 351], [349, 351])}),
        ({"num_beams": 1, "max_length": None}, {}),
        ({"num_beams": 4}, {"num_beams": (4, 1)}),
        ({"max_length": 20}, {"max_length": (20, None)}),
        ({"stop_strings": ["."]}, {"stop_strings": (["."], None)}),
    ],
)
def test_sampling_and_ends_of_a_folder(random_qwen2_folder, tmp_path, fields, wrong):
    other = changed(random_qwen2_folder, tmp_path / "other", FILE, **fields)
    assert of(generation_settings, random_qwen2_folder, other) == wrong


def test_a_lost_or_broken_generation_config(random_qwen2_folder, tmp_path):
    lost = changed(random_qwen2_folder, tmp_path / "lost", FILE)
    (lost / FILE).unlink()
    assert of(generation_settings, random_qwen2_folder, lost) == {ENDS: ([351], [349, 351])}
    assert of(generation_settings, lost, random_qwen2_folder) == {}
    (lost / FILE).write_text("{")
    assert list(of(generation_settings, random_qwen2_folder, lost)) == [FILE]
    assert of(generation_settings, lost, random_qwen2_folder) == {}


def test_sampling_keys_of_gguf(random_qwen2_folder, gguf, tmp_path):
    from pytest_aprqa.defects.declarations import add_gguf

    source = changed(random_qwen2_folder, tmp_path / "source", FILE, temperature=0.7)
    file = tmp_path / "keys.gguf"
    shutil.copyfile(gguf, file)
    add_gguf(("general.sampling.temp", "float32", 0.7))(file)
    assert of(generation_settings, source, file) == {}
    add_gguf(("general.sampling.temp", "float32", 0.8))(file)
    (found,) = of(generation_settings, source, file).values()
    assert found == (pytest.approx(0.8), 0.7)


TABLE = "| File | Type |\n|---|---|\n| [m.gguf](x) | `{}` |\n"


@pytest.mark.parametrize(
    ("card", "wrong"),
    [
        ("---\nbase_model: org/tiny-model\n---\n", []),
        ("---\nbase_model: [org/tiny-model-GGUF]\n---\n", []),
        ("---\nbase_model: parent/of-it\n---\n", []),
        ("---\nbase_model: org/tiny-model-chat\n---\n", ["base_model"]),
        ("---\nquantization: bf16\n---\n", []),
        ("---\nquantization: Q4_K_M\n---\n", ["quantization"]),
        ("---\nquantization: some words\n---\n", []),
        (TABLE.format("BF16"), []),
        (TABLE.format("Q8_0"), ["type of m.gguf"]),
        (TABLE.format("Q8_0").replace("m.gguf", "other-m.gguf"), []),
        (TABLE.format("Q8_0` | `BF16"), []),
        ("\ufeffnot a card \udcff", []),
    ],
)
def test_what_a_card_claims(random_qwen2_folder, gguf, tmp_path, card, wrong):
    source = tmp_path / "tiny-model"
    shutil.copytree(random_qwen2_folder, source)
    (source / "README.md").write_text("---\nbase_model: parent/of-it\n---\n# Tiny Model\n")
    place = tmp_path / "other"
    place.mkdir()
    shutil.copyfile(gguf, place / "m.gguf")
    (place / "README.md").write_text(card, encoding="utf-8", errors="surrogateescape")
    assert [one.removeprefix("model card: ") for one in of(card_claims, source, place / "m.gguf")] == wrong


def test_a_name_that_depends_on_the_place_proves_nothing(random_qwen2_folder, tmp_path):
    """Only a folder named as its card's title, or one of the hub's cache, says which model it is."""
    source = tmp_path / "a-copy"
    shutil.copytree(random_qwen2_folder, source)
    (source / "README.md").write_text("# Tiny Model\n")
    other = changed(source, tmp_path / "other", "config.json")
    assert of(card_claims, source, other) == {}
    (other / "README.md").write_text("---\nbase_model: org/Another\n---\n")
    assert of(card_claims, source, other) == {}
    cached = tmp_path / "models--org--Tiny" / "snapshots" / "1"
    shutil.copytree(source, cached)
    assert of(card_claims, cached, other) == {"model card: base_model": ("org/Another", "Tiny")}


@pytest.mark.parametrize(("tags", "wrong"), [("[text]", []), ("[text, 4-bit]", ["model card: tags"])])
def test_tags_of_plain_floats(random_qwen2_folder, tmp_path, tags, wrong):
    other = changed(random_qwen2_folder, tmp_path / "other", "config.json")
    (other / "README.md").write_text(f"---\ntags: {tags}\n---\n")
    assert list(of(card_claims, random_qwen2_folder, other)) == wrong
