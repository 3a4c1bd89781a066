"""For each seeded defect: the gates that may kill it, words that their cause must have, gates that must see it too."""

from __future__ import annotations

import re
from dataclasses import dataclass

FILE, VALUES, CONFIG = "G0-INTEGRITY-FILE", "G0-VALIDATE-001", "G0-INTEGRITY-CONFIG"
SOURCE, TENSORS, LAYOUT = "G0-INTEGRITY-SOURCE", "G0-TENSOR-001", "G0-LAYOUT-001"
TOKENIZER, LOAD, TEXT = "G1-TOKENIZER-001", "G1-LOAD-001", "G2-BASIC"
STABLE, GARBAGE, ANSWERS = "G3-STABLE", "G4-GARBAGE-001", "F-A?-001"
I1, I2, I3 = "F-CONTRACT-I1-001", "F-CONTRACT-I2-001", "F-CONTRACT-I3-001"
I4, I5 = "F-CONTRACT-I4-001", "F-CONTRACT-I5-001"
SAME_FILE = "F-CONV-IDEM-001"
TYPES, ALIGNMENT, HEADER = "F-APR-FORMAT-001", "F-APR-FORMAT-002", "F-APR-FORMAT-003"
PADDING = "F-ROSETTA-INF-003"
EMBEDDINGS, STATES = "F-ROSETTA-STATS-002", "F-TRACE-PAYLOAD-001"


@dataclass(frozen=True, slots=True)
class Expectation:
    """`gates`: gate ids (with `?` for the category of a scenario); `words`: a pattern found in the cause, any case.

    `also`: gates that must refute the copy as well, by what follows from the defect (no text, garbage, another answer).
    """

    gates: tuple[str, ...]
    words: str
    also: tuple[str, ...] = ()

    def matches(self, cause: str) -> bool:
        """True when the cause has the words."""
        return re.search(self.words, cause, re.IGNORECASE | re.DOTALL) is not None


def expectation_of(name: str) -> Expectation:
    """What must name the defect. KeyError: the catalogue has a defect without an expectation."""
    if name in EXPECTATIONS:
        return EXPECTATIONS[name]
    return _IN_EVERY_FORMAT[re.sub(r"^(apr|gguf)-(q\w+?-)?", "", name)]


def _expect(gates: str | tuple[str, ...], words: str, *also: str) -> Expectation:
    return Expectation((gates,) if isinstance(gates, str) else gates, words, also)


# By the name without the format, for defects that show in the same way in every one.
_IN_EVERY_FORMAT: dict[str, Expectation] = {
    # Containers
    "truncated": _expect(FILE, "runs past the end|shorter than"),
    "header-bit-flipped": _expect(FILE, "does not begin with|header checksum"),
    "footer-bit-flipped": _expect(FILE, "checksum does not match"),
    "data-bit-flipped": _expect(FILE, "checksum does not match"),
    "column-major": _expect(FILE, "column-major"),
    "magic-bit-flipped": _expect(FILE, "is not a SafeTensors, GGUF or APR file"),
    "count-hostile": _expect(FILE, "larger than the file allows"),
    "byte-order-foreign": _expect(FILE, "big endian"),
    "split-part-lost": _expect(FILE, "split"),
    "tensor-misaligned": _expect(ALIGNMENT, r"offset \d+ is 4 bytes past a multiple of (32|64)\b", FILE),
    "type-too-large": _expect(TYPES, r"down_proj\S*: size does not match F64 of shape", FILE),
    "type-unknown": _expect(TYPES, r"ffn_down\S*.*unknown.*type.*142", FILE),
    "footer-lost": _expect(HEADER, "footer checksum is missing"),
    # Declarations
    "layers-wrong": _expect(CONFIG, r"config says \d+ layers but tensors have \d+"),
    "hidden-size-wrong": _expect(CONFIG, "hidden_size=4096 but"),
    "kv-heads-wrong": _expect(CONFIG, r"config says \d+ heads of \d+ but k_proj"),
    "architecture-wrong": _expect(SOURCE, "architecture is .* 'nonesuch'", LOAD),
    "architecture-unknown": _expect((SOURCE, CONFIG), "nonesuch", LOAD),
    "context-missing": _expect(CONFIG, "max_position_embeddings: is missing"),
    "context-wrong": _expect(SOURCE, r"max_position_embeddings is \d+ in the source, 64"),
    "rope-type-interleaved": _expect(SOURCE, "rope_style is 'half' in the source, 'interleaved'", I1),
    "rope-theta-wrong": _expect(SOURCE, r"rope_theta is [\d.]+ in the source, 10\.0", I1),
    "rope-scaling-added": _expect(SOURCE, "rope_scaling is .*linear"),
    "rotated-part-wrong": _expect(SOURCE, r"rope\.dimension_count is \d+ in the source, \d+"),
    "count-retyped": _expect(CONFIG, "block_count is of type uint64, the engine asks for uint32"),
    "epsilon-missing": _expect(CONFIG, "layer_norm_rms_epsilon is missing, the engine asks for float32"),
    "vocabulary-kind-missing": _expect(CONFIG, r"tokenizer\.ggml\.model is missing, the engine asks for string"),
    "rope-factor-without-type": _expect(SOURCE, "rope_scaling is .* in the source, .*linear"),
    "value-length-wrong": _expect(SOURCE, r"attention\.value_length is \d+ in the source, \d+"),
    "label-wrong": _expect(I3, "general.file_type: declared Q8_0"),
    "norm-epsilon-wrong": _expect(SOURCE, r"rms_norm_eps is \S+ in the source, 10\.0", I1),
    # Tensors
    "nan-in-tensor": _expect(VALUES, r"down\S*: 1 NaN"),
    "infinity-in-tensor": _expect(VALUES, r"o_proj\S*: 0 NaN, 1 infinite"),
    "tensor-all-zero": _expect(VALUES, r"up\S*: all \d+ values are zero"),
    "bias-zero": _expect((VALUES, I4), r"q\S*bias: .*zero"),
    "head-zero": _expect(VALUES, r"lm_head\S*: all \d+ values are zero"),
    "projection-transposed": _expect(LAYOUT, r"down_proj\S* .*\(transposed\)"),
    "tensor-missing": _expect(TENSORS, "Missing 1 tensors .*norm.weight"),
    "tensor-extra": _expect(TENSORS, r"1 tensors that the \w+ template does not have"),
    "tensor-renamed": _expect(I2, "1 source tensors missing: .*down_proj"),
    "bias-lost": _expect(I2, "1 source tensors missing: .*q_proj.bias"),
    "head-lost": _expect(I2, "1 source tensors missing: lm_head"),
    "type-fallback": _expect(I3, r"down_proj\S*: BF16 in the source, F32 in the artifact"),
    "eight-bit-fallback": _expect(I3, r"down_proj\S*: BF16 in the source, \w+ in the artifact"),
    "wider-fallback": _expect(I3, r"down_proj\S*: .* F32 in the artifact"),
    "lower-fallback": _expect(I3, r"down_proj\S*: .* Q4_0 in the artifact"),
    "tensor-scaled": _expect(I4, r"down_proj\S*: .*scaled by about 1\.25"),
    "norms-plus-one": _expect(I4, r"input_layernorm\S*: .*shifted by about 1\b"),
    "norms-minus-one": _expect(I4, r"input_layernorm\S*: .*shifted by about -1\b"),
    "norms-scaled": _expect(I4, r"post_attention_layernorm\S*: .*(scaled by about 1\.4|shifted by about)"),
    "gate-and-up-swapped": _expect(I4, r"gate_proj\S*: .*(other values|swapped|exchanged)"),
    "layers-swapped": _expect(I4, r"layers\.0\.mlp\S*: .*(other values|swapped|exchanged)"),
    "precision-lost": _expect(I4, r"down_proj\S*: .*fewer bits"),
    "attention-rows-permuted": _expect(I4, r"o_proj\S*: .*permuted"),
    "embedding-shifted": _expect(I4, r"embed_tokens\S*: .*(permuted|off by one|shifted by 1 row)"),
    "rotary-rows-interleaved": _expect(I4, r"q_proj\S*: .*permuted", I1),
    "rotary-permutation-wrong": _expect(I4, r"q_proj\S*: .*permuted", I1),
    "head-scaled": _expect(I4, r"q_proj\S*: head 1: slope \S+, limit .*one head is scaled, head 1 by about 0\.9[78]"),
    "output-head-scaled": _expect(I4, r"lm_head\S*: .*scaled by about 1\.1\b"),
    "chat-templates-differ": _expect(I5, "two chat templates that differ"),
    "row-damaged": _expect(I4, r"down_proj\S*: .*part of the values changed"),
    "rows-shifted": _expect(I4, r"down_proj\S*: .*(other values|permuted|off by one|row)"),
    "embedding-scaled": _expect(EMBEDDINGS, r"embed_tokens\S*: std \S+, \S+ in the reference", I4),
    "scale-nan": _expect(VALUES, r"up\S*: \d+ NaN"),
    "scales-byte-swapped": _expect((I4, VALUES), r"gate\S*: "),
    "end-row-scaled": _expect((I2, I4, SOURCE), "lm_head|tied_embeddings", TEXT),
    "padding-flood": _expect(
        (I2, I4, SOURCE), "lm_head|tied_embeddings", "F-LAYOUT-CONTRACT-005", "F-PAR-003", PADDING
    ),
    # Tokenizers and templates
    "tokens-lost": _expect(TOKENIZER, "tokenizer is missing"),
    "tokenizer-dropped": _expect(TOKENIZER, "tokenizer is missing"),
    "tokenizer-missing": _expect(TOKENIZER, "tokenizer is missing"),
    "merges-lost": _expect(TOKENIZER, "no merges"),
    "vocabulary-cut": _expect((TOKENIZER, I5), "token"),
    "tokenizer-shifted": _expect(I5, "ids .* in the source"),
    "tokenizer-of-another-model": _expect(I5, "ids .* in the source"),
    "merges-reordered": _expect(I5, "ids .* in the source"),
    "pre-tokenizer-wrong": _expect(I5, "ids .* in the source"),
    "add-bos-wrong": _expect(I5, "ids .* in the source"),
    "bos-policy-lost": _expect(I5, "ids .* in the source"),
    "end-token-wrong": _expect(I5, "stop tokens"),
    "token-types-lost": _expect(I5, "token types (are )?lost"),
    "turn-token-normal": _expect(I5, r"added tokens lost|control tokens are no longer special"),
    "control-tokens-user-defined": _expect(I5, "control tokens are no longer special"),
    "control-tokens-not-special": _expect(I5, "control tokens are no longer special"),
    "begin-token-wrong": _expect(I5, r"bos\S*: 1[12] \(.*another BOS id"),
    "end-token-of-base-model": _expect(I5, r"eos_token_id: \d+ .*another EOS id"),
    "added-tokens-eat-spaces": _expect(I5, "added tokens are matched otherwise"),
    "end-token-lost": _expect(I5, "no EOS id is declared"),
    "control-tokens-normal": _expect(I5, "stop tokens|ids .* in the source"),
    "chat-template-lost": _expect((TOKENIZER, I5), "no chat template|chat template is lost"),
    "chat-template-of-another-model": _expect(I5, "chat template is not the source's"),
    "chat-template-raises": _expect(I5, "chat template is not the source's", TEXT),
    "chat-template-endless": _expect(I5, "chat template is not the source's", STABLE),
    # Conversions
    "conversion-not-repeated": _expect(SAME_FILE, "sha256 .* first, .* again"),
}
EXPECTATIONS: dict[str, Expectation] = {
    "config-layers-wrong": _expect(CONFIG, r"config says \d+ layers but tensors have \d+"),
    "config-hidden-size-wrong": _expect(CONFIG, "hidden_size=4096 but"),
    "config-vocabulary-wrong": _expect(CONFIG, r"vocab_size=\d+ but embedding has \d+"),
    "config-heads-wrong": _expect(CONFIG, r"config says \d+ heads of \d+ but q_proj"),
    "config-kv-heads-wrong": _expect(CONFIG, r"config says \d+ heads of \d+ but k_proj"),
    "weights-truncated": _expect(FILE, "shorter than its tensors"),
    "header-length-hostile": _expect(FILE, "header is too long"),
    "head-transposed": _expect(LAYOUT, r"(embed_tokens|lm_head)\S* .*\(transposed\)"),
    "layer-tensor-missing": _expect(TENSORS, "Missing 1 tensors .*k_proj"),
    "generation-ends-lost": _expect(SOURCE, r"generation eos_token_id is \[\d+, \d+\] in the source, \[\d+\]"),
    "sampling-changed": _expect(SOURCE, r"temperature is 1\.0 in the source, 1\.5"),
    "card-of-another-model": _expect(SOURCE, r"model card: base_model is .* in the source, .*Llama-3\.2-1B"),
    "card-claims-another-type": _expect(SOURCE, r"model card: quantization is 'BF16' in the source, 'Q4_K_M'"),
    "architectures-wrong": _expect(SOURCE, r"architectures is \['Qwen2ForCausalLM'\] in the source"),
    "dtype-wrong": _expect(SOURCE, "dtype is 'bfloat16' in the source, 'float16'"),
    "quantization-left-declared": _expect(SOURCE, "quantization_config is None in the source, .*bitsandbytes"),
    "layer-types-wrong": _expect(SOURCE, r"layer_types is \['full_attention'.* in the source, \['sliding"),
    "apr-label-wrong": _expect(I3, "quantization.quant_type: declared q6_k"),
    "architectures-lost": _expect(SOURCE, r"architectures is \['Qwen2ForCausalLM'\] in the source, None"),
    "code-added": _expect(SOURCE, "auto_map is None in the source, .*modeling_other"),
    "answers-cut": _expect(SOURCE, r"max_new_tokens is \S+ in the source, 20"),
    "config-missing": _expect(CONFIG, "no config.json"),
    "index-counts-files": _expect(HEADER, r"total_size says \d+ bytes, the shards hold \d+"),
    "activations-overflow": _expect(STATES, r"layer 0: \d+ of \d+ values are NaN or infinite", I4),
    "shard-missing": _expect(FILE, "a shard that does not exist"),
    "index-stale": _expect(FILE, "a shard that does not exist"),
    "weights-are-lfs-pointer": _expect(FILE, "Git LFS pointer"),
    "weights-are-error-page": _expect(FILE, "HTML"),
    "every-token-ends": _expect(I5, "stop tokens", TEXT),
    "generation-config-stale": _expect(I5, "stop tokens"),
    "decoder-panics": _expect(I5, "cannot decode", STABLE),
    "mlp-scaled": _expect(
        I4, r"down_proj\S*: .*scaled by about 30\b", ANSWERS, "F-TRACE-PAYLOAD-003", "F-TRACE-DIFF-001"
    ),
    "mlp-rows-permuted": _expect(I4, r"down_proj\S*: .*permuted", GARBAGE, "F-ROSETTA-INF-001", "F-ROSETTA-INF-002"),
    "tokenizer-shifted": _expect(I5, "ids .* in the source", "F-TRACE-PAYLOAD-002"),
    "attention-rows-permuted": _expect(I4, r"o_proj\S*: .*permuted", GARBAGE),
    "embedding-shifted": _expect(I4, r"embed_tokens\S*: .*(permuted|off by one|shifted by 1 row)", GARBAGE),
    "added-tokens-lost": _expect(TOKENIZER, "no such one"),
    "vocabulary-beyond-embedding": _expect(TOKENIZER, r"token id \d+ is outside the vocabulary"),
}
