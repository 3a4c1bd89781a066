"""As what a file is judged, and which types are silent fall-backs: each rule just inside and just outside."""

from types import SimpleNamespace

import pytest

from pytest_aprqa.formats.tensor_file import TensorEntry
from pytest_aprqa.suite.stored_types import base_type, declared_label, majority_type, named, type_problems

LAYER = "model.layers.{}.mlp.down_proj.weight"


def artifact(types, file_type=None, shape=(256, 512), format_name="gguf"):
    """An artifact with tensors {name: dtype}."""
    entries = {n: TensorEntry(n, t, (512,) if "norm" in n else shape, 0, 0) for n, t in types.items()}
    tensors = SimpleNamespace(names=lambda: list(entries), entry=entries.__getitem__)
    metadata = {} if file_type is None else {"general.file_type": file_type}
    return SimpleNamespace(format=format_name, tensors=tensors, file=SimpleNamespace(metadata=metadata))


def problems(types, file_type=None, labels=("DECLARED",), source="BF16", **keywords):
    one = artifact(types, file_type, **keywords)
    origin = {n: TensorEntry(n, source, one.tensors.entry(n).shape, 0, 0) for n in types}
    return [(p.where, p.cause) for p in type_problems(one, origin, labels)[1]]


def layers(dtype, **others):
    names = {LAYER.format(i): dtype for i in range(4)} | {"model.norm.weight": "F32"}
    return names | {LAYER.format(i.removeprefix("at")): t for i, t in others.items()}


@pytest.mark.parametrize(
    ("label", "base"),
    [
        ("Q4_K_M", "Q4_K"),
        ("Q6_K", "Q6_K"),
        ("Q8_0", "Q8_0"),
        ("IQ3_M", "IQ3_S"),
        ("BF16", "BF16"),
        ("q8", "APR_Q8"),
        ("Q4", "APR_Q4"),
        ("APR_Q8", "APR_Q8"),
    ],
)
def test_base_type_of_a_label(label, base):
    assert base_type(label) == base
    assert named(base, [label])


def test_the_declaration_decides_and_else_the_majority():
    assert declared_label(artifact(layers("Q4_K"), 15)) == "Q4_K_M"
    assert declared_label(artifact(layers("Q4_K"))) is None
    assert declared_label(artifact(layers("Q4_K"), 15, format_name="apr")) is None
    mixed = artifact(layers("Q4_K", at0="Q6_K")).tensors
    assert majority_type(mixed.entry(n) for n in mixed.names()) == "Q4_K"
    assert majority_type([]) is None


def test_a_clean_mixture_of_4_bits_passes():
    assert problems(layers("Q4_K", at1="Q6_K"), 15) == []
    assert problems({**layers("Q4_K"), "model.embed_tokens.weight": "BF16", "lm_head.weight": "Q6_K"}, 15) == []


@pytest.mark.parametrize(
    ("dtype", "cause"),
    [
        ("F32", "silent fall-back to a wider float"),
        ("BF16", "silent fall-back: left unquantised in a file of Q4_K_M"),
        ("Q2_K", "a type that files of Q4_K_M do not mix"),
    ],
)
def test_one_matrix_of_another_kind_in_a_4_bit_file_is_named(dtype, cause):
    assert problems(layers("Q4_K", at2=dtype), 15) == [(LAYER.format(2), cause)]
    assert problems(layers("Q4_K", at2=dtype)) == [(LAYER.format(2), cause.replace("Q4_K_M", "Q4_K"))]


def test_an_embedding_may_stay_as_the_source_has_it_but_not_grow():
    assert problems({**layers("Q4_K"), "model.embed_tokens.weight": "F32"}, 15) == [
        ("model.embed_tokens.weight", "silent fall-back to a wider float")
    ]


def test_rows_that_fill_no_blocks_may_fall_back():
    assert problems(layers("Q4_K", at0="Q5_0"), 15, shape=(64, 288)) == []
    assert problems(layers("Q4_K", at0="Q5_0"), 15, shape=(64, 512)) != []
    assert problems(layers("Q8_0", at0="F16"), 7, shape=(64, 40)) == []
    assert problems(layers("Q8_0", at0="F16"), 7, shape=(64, 64)) != []


@pytest.mark.parametrize(
    ("label", "base", "right", "wrong"),
    [
        (7, "Q8_0", (), ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL")),
        (15, "Q4_K", ("Q5_0", "Q5_1", "Q8_0"), ("Q4_0", "Q4_1", "IQ4_NL")),
        (18, "Q6_K", ("Q8_0",), ("Q4_0", "Q5_0", "Q5_1")),
        (10, "Q2_K", ("Q4_0", "IQ4_NL", "Q5_0"), ()),
        (30, "IQ4_XS", ("IQ4_NL", "Q5_0"), ()),
    ],
)
def test_short_rows_fall_back_to_no_worse_type_than_that_of_the_label(label, base, right, wrong):
    """Rows of 896 values, as Qwen2.5-0.5B has them, are no whole blocks of 256: a type in blocks of 32 stands in."""
    for dtype in (*right, *wrong):
        types = {**layers(base), LAYER.format(2): dtype}
        named = [where for where, _ in problems(types, label, shape=(64, 896)) if where == LAYER.format(2)]
        assert bool(named) == (dtype in wrong), (base, dtype)


def test_a_file_that_says_f16_and_holds_4_bits_is_named_as_a_whole():
    found = problems(layers("Q4_K"), 1)
    assert ("general.file_type", "declares another type than it has") in found
    assert (LAYER.format(0), "quantised without being asked") in found


def test_the_playbook_restricts_what_a_file_may_declare():
    assert problems(layers("Q4_K"), 15, labels=("Q4_K_M",)) == []
    assert len(problems(layers("Q4_K"), 15, labels=("BF16",))) == 4
    assert problems(layers("BF16"), 32, labels=("Q4_K_M",)) == []


def test_a_vector_may_be_widened_to_f32_and_nothing_else():
    assert problems(layers("BF16")) == []
    assert problems({**layers("BF16"), "model.norm.weight": "F16"}) == [
        ("model.norm.weight", "another float type than declared")
    ]


def test_a_file_whose_short_rows_stayed_float_is_judged_as_what_it_declares():
    """Only down_proj fills whole blocks: the rest of a Q8_0 file rightly stays F16."""
    wide, narrow = "model.layers.0.mlp.down_proj.weight", "model.layers.0.mlp.up_proj.weight"
    for file_type, judged in ((7, "Q8_0"), (None, "Q8_0")):
        one = artifact({wide: "Q8_0", narrow: "F16", narrow.replace("0", "1"): "F16"}, file_type)
        for name in one.tensors.names():
            entry = one.tensors.entry(name)
            shape = (40, 64) if name == wide else (64, 40)
            one.tensors.__dict__.setdefault("stored", {})[name] = TensorEntry(name, entry.dtype, shape, 0, 0)
        one.tensors.entry = one.tensors.stored.__getitem__
        origin = {n: TensorEntry(n, "F16", one.tensors.entry(n).shape, 0, 0) for n in one.tensors.names()}
        assert type_problems(one, origin, ("DECLARED",)) == (judged, [])


def test_one_quantised_matrix_in_an_undeclared_float_file_still_stands_out():
    assert problems(layers("F16", at1="Q8_0"), source="F16") == [(LAYER.format(1), "quantised without being asked")]


def test_a_declared_type_that_no_tensor_has_is_named_first():
    assert ("general.file_type", "declares another type than it has") in problems(layers("F16"), 15, source="F16")


@pytest.mark.parametrize(("columns", "right"), [(128, True), (256, False)])
def test_rows_too_short_for_apr_blocks_stay_as_the_source_has_them(columns, right):
    """APR has no type in blocks of 32 to fall back to; whatever most matrices are, the file is one of Q4_K."""
    wide, narrow = LAYER.format(0), "model.layers.{}.mlp.up_proj.weight"
    types = {wide: "Q4_K", **{narrow.format(i): "BF16" for i in range(3)}}
    origin = {n: TensorEntry(n, "BF16", (64, 512 if n == wide else columns), 0, 0) for n in types}
    stored = {n: TensorEntry(n, t, origin[n].shape, 0, 0) for n, t in types.items()}
    one = artifact(types, format_name="apr")
    one.tensors.entry = stored.__getitem__
    label, found = type_problems(one, origin, ("DECLARED",))
    assert (label, found) == ("Q4_K", []) if right else found


@pytest.mark.parametrize(("query", "named"), [("Q8_0", True), ("Q4_K", False)])
def test_a_file_without_a_matrix_of_its_label_declares_another_type(query, named):
    """Every mixture has some matrix of the type that it is named after."""
    types = {"model.layers.0.self_attn.q_proj.weight": query, "model.layers.0.mlp.down_proj.weight": "Q8_0"}
    expected = [("general.file_type", "declares another type than it has")] if named else []
    assert problems(types, 15) == expected
    assert problems(types, 15, shape=(64, 128)) == []


@pytest.mark.parametrize(
    ("claim", "wrong"),
    [
        ({"quant_type": "q4_k", "bits": 4}, False),
        ({"quant_type": "q6_k", "bits": 6}, True),
        ({"quant_type": "q8"}, True),
        (None, False),
        ("q4_k", False),
    ],
)
def test_an_apr_file_claims_a_type_that_it_has(claim, wrong):
    one = artifact(layers("Q4_K"), format_name="apr")
    one.file.metadata = {"quantization": claim}
    origin = {n: TensorEntry(n, "BF16", one.tensors.entry(n).shape, 0, 0) for n in one.tensors.names()}
    found = [(p.where, p.cause) for p in type_problems(one, origin, ("DECLARED",))[1]]
    assert found == ([("quantization.quant_type", "declares another type than it has")] if wrong else [])
