"""A model's declared dimensions, read from config.json, GGUF keys or APR metadata: always the artifact's own words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_aprqa.formats.tensor_file import TensorEntry
from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.hf_config_names import hf_names
from pytest_aprqa.models.latent_attention import LatentAttention, latent_from_apr, latent_from_gguf, latent_from_hf
from pytest_aprqa.models.rope_scaling import scaling_from_gguf, scaling_from_hf

MOST_LAYERS = 10_000  # fifty times the deepest published model; every layer is a loop over its tensors
LARGEST_NUMBER = 1e30  # of a rotary base or epsilon
LARGEST_CONFIG = 16 << 20  # bytes of a config.json that is read
EMBEDDINGS = ("model.embed_tokens.weight", "token_embd.weight", "transformer.wte.weight", "gpt_neox.embed_in.weight")
HEADS = ("lm_head.weight", "output.weight", "embed_out.weight")
# Families whose q, k, v projections have biases when the declaration does not say (public model code).
BIASED_FAMILIES = frozenset({"qwen2", "phi", "gpt2", "gpt_bigcode", "starcoder2", "phi3small", "internlm2", "gpt_neox"})
# Families whose `attention_bias` holds for the output projection too.
OUTPUT_BIASED_FAMILIES = frozenset(
    {"llama", "granite", "gemma", "gemma2", "gemma3_text", "nemotron", "olmo", "olmo2", "smollm3", "qwen3", "qwen3_moe"}
    | {"internlm2", "deepseek_v2"}
)
# rope_type of APR metadata: 0 rotates adjacent pairs, 2 rotates halves (apr-format 6.1).
ROPE_STYLES = {0: "interleaved", 2: "half"}
# Families whose head_dim is not hidden_size / heads when config.json leaves it out (public model code).
HEAD_DIMS = {"qwen3": 128, "gemma": 256, "gemma2": 256, "gemma3_text": 256}
# Families whose head is tied when the declaration does not say.
TIED_FAMILIES = frozenset(
    {"gpt2", "gpt_bigcode", "gemma", "gemma2", "gemma3_text", "falcon", "starcoder2", "smollm3", "phi3small"}
)
# Rows of one expert, and experts that every token takes, when config.json leaves them out (public model code).
DEFAULT_EXPERT_SIZES = {"deepseek_v2": 1407}
DEFAULT_SHARED_EXPERTS = {"deepseek_v2": 2}
# Epsilon of the norms and rotary base when config.json leaves them out (public model code).
_LARGER_EPSILON = "gpt_neox gpt2 gpt_bigcode falcon starcoder2 phi phi3 nemotron stablelm olmo olmo2 mixtral"
DEFAULT_EPSILONS = dict.fromkeys(_LARGER_EPSILON.split(), 1e-5)
DEFAULT_THETAS = {"mixtral": 1e6, "gemma3_text": 1e6, "smollm3": 2e6}
# Families with a window wherever the declaration names one.
WINDOWED_FAMILIES = frozenset({"mistral", "mixtral", "gemma2", "gemma3_text", "phi3", "starcoder2"})
# Families whose layers have a window only where `use_sliding_window` says so.
WINDOWED_BY_FLAG = frozenset({"qwen2", "qwen3"})
NO_DEFAULT_WINDOW = frozenset({"mixtral", "phi3", "starcoder2"})  # of those with windows
DEFAULT_WINDOW = 4096  # tokens, of Mistral's and Qwen's public configuration code
CONFIG_GATE = "G0-INTEGRITY-CONFIG"
FETCH_CONFIG = "fetch the model's config.json"
HALF_BY_NAME = ("qwen", "phi", "gemma", "gptneox", "gpt-neox", "falcon", "deepseek")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Declared dimensions (counts), rotary base, epsilon, flags. `rope_style`: how the file says q/k rows rotate."""

    architecture: str
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    rope_theta: float
    rope_style: str
    rms_norm_eps: float
    tied_embeddings: bool
    attention_bias: bool
    hidden_act: str
    # Extra fields of transformers' `rope_parameters`, sorted by name; empty for plain rotation.
    rope_scaling: tuple[tuple[str, Any], ...] = ()
    # Tokens that a windowed layer looks back on, None when no layer has a window; layers before the first see all.
    sliding_window: int | None = None
    first_windowed_layer: int = 0
    # Biases of the attention's output and of the feed-forward matrices.
    output_bias: bool = False
    mlp_bias: bool = False
    # Experts of a layer (0: none) and the rows of one of them.
    num_experts: int = 0
    expert_size: int = 0
    # Experts that every token takes, and the first layers, which have none.
    shared_experts: int = 0
    dense_layers: int = 0
    latent: LatentAttention | None = None

    def to_transformers(self) -> dict[str, Any]:
        """Keyword arguments of the transformers configuration class of `architecture`."""
        values: dict[str, Any] = {
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": self.hidden_act,
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_parameters": {
                "rope_type": "default",
                **{name: list(value) if isinstance(value, tuple) else value for name, value in self.rope_scaling},
                "rope_theta": self.rope_theta,
            },
            "tie_word_embeddings": self.tied_embeddings,
        }
        if self.architecture == "llama":
            values |= {"attention_bias": self.attention_bias, "mlp_bias": self.mlp_bias}
        elif self.architecture == "mistral":
            values["sliding_window"] = self.sliding_window
        elif self.architecture in WINDOWED_BY_FLAG and self.sliding_window is not None:
            values |= {
                "use_sliding_window": True,
                "sliding_window": self.sliding_window,
                "max_window_layers": self.first_windowed_layer,
            }
        return values


def config_from_hf(place: Path) -> ModelConfig:
    """Read config.json of a folder, or the one that belongs to a weight file (`<stem>.config.json` first).

    ModelError in the words of gates.md 3.5: missing, unreadable, a field missing or wrong.
    """
    path = _config_file(place)
    document = _document(path)
    document = hf_names(document)
    reader = _Reader(path, document)
    scaling = document.get("rope_parameters") or document.get("rope_scaling") or {}
    if not isinstance(scaling, dict):
        raise ModelError(path, "rope_parameters", "is not a mapping", found=_shown(scaling))
    hidden, heads = reader.count("hidden_size"), reader.count("num_attention_heads")
    architecture = reader.text("model_type")
    if isinstance(scaling.get("full_attention"), dict):  # Gemma 3 declares both kinds of layers
        scaling = scaling["full_attention"]
    theta = _given(scaling.get("rope_theta"), document.get("rope_theta"), DEFAULT_THETAS.get(architecture, 10000.0))
    biased = reader.flag("attention_bias", architecture in BIASED_FAMILIES)
    epsilon = DEFAULT_EPSILONS.get(architecture, 1e-6)
    experts = _experts(reader)
    latent = latent_from_hf(architecture, document, reader.count)
    head_dim = latent.key if latent else HEAD_DIMS.get(architecture, max(1, hidden // heads))
    return ModelConfig(
        architecture=architecture,
        hidden_size=hidden,
        num_layers=reader.count("num_hidden_layers", limit=MOST_LAYERS),
        num_heads=heads,
        num_kv_heads=reader.count("num_key_value_heads", heads),
        head_dim=head_dim if latent else reader.count("head_dim", head_dim),
        intermediate_size=reader.count("intermediate_size", 4 * hidden),
        vocab_size=reader.count("vocab_size"),
        max_position_embeddings=reader.count("max_position_embeddings", 2048),
        rope_theta=reader.number("rope_theta", theta),
        rope_style="half",
        rms_norm_eps=reader.number("rms_norm_eps", _given(document.get("rms_norm_eps"), epsilon)),
        tied_embeddings=reader.flag("tie_word_embeddings", architecture in TIED_FAMILIES),
        attention_bias=biased,
        hidden_act=reader.text("hidden_act", "silu"),
        rope_scaling=scaling_from_hf(path, scaling),
        output_bias=biased and architecture in OUTPUT_BIASED_FAMILIES,
        mlp_bias=reader.flag("mlp_bias", False),
        num_experts=experts,
        expert_size=_expert_size(architecture, reader, 4 * hidden) if experts else 0,
        shared_experts=reader.none_or_count("n_shared_experts", DEFAULT_SHARED_EXPERTS.get(architecture, 0)),
        dense_layers=reader.none_or_count("first_k_dense_replace"),
        latent=latent,
        **_window(architecture, document, reader),
    )


def document_of(place: Path) -> dict[str, Any]:
    """The config.json that `config_from_hf` reads, as it is written. ModelError as there."""
    return _document(_config_file(place))


def _experts(reader: _Reader) -> int:
    """Experts of a layer, 0 where the declaration names none."""
    for field in ("num_local_experts", "num_experts", "n_routed_experts"):
        if reader.given(field):
            return reader.count(field)
    return 0


def _expert_size(architecture: str, reader: _Reader, default: int) -> int:
    """Rows of one expert; those of Mixtral have the size of a whole layer."""
    whole = reader.count("intermediate_size", default)
    default = DEFAULT_EXPERT_SIZES.get(architecture, whole)
    return whole if architecture == "mixtral" else reader.count("moe_intermediate_size", default)


def _window(architecture: str, document: Mapping[str, Any], reader: _Reader) -> dict[str, Any]:
    """The window of a config.json. Absent keys mean what transformers takes them for."""
    usual = None if architecture in NO_DEFAULT_WINDOW else DEFAULT_WINDOW
    if document.get("sliding_window", usual) is None:
        return {}
    if architecture in WINDOWED_FAMILIES:
        return {"sliding_window": reader.count("sliding_window", DEFAULT_WINDOW)}
    if architecture in WINDOWED_BY_FLAG and reader.flag("use_sliding_window", False):
        first = 0 if document.get("max_window_layers") == 0 else reader.count("max_window_layers", 28)
        return {"sliding_window": reader.count("sliding_window", DEFAULT_WINDOW), "first_windowed_layer": first}
    return {}


def _given(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _document(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > LARGEST_CONFIG:
            raise ModelError(path, CONFIG_GATE, "config.json is too large", found=size, limit=LARGEST_CONFIG)
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            path, CONFIG_GATE, f"config.json not found or unreadable: {error.strerror or error}", advice=FETCH_CONFIG
        ) from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(path, CONFIG_GATE, f"config.json parse error: {error}", advice=FETCH_CONFIG) from None
    if not isinstance(document, dict):
        found = type(document).__name__
        raise ModelError(path, CONFIG_GATE, "config.json parse error: is not a JSON object", found=found)
    return document


def _config_file(place: Path) -> Path:
    folder = place if place.is_dir() else place.parent
    candidates = [folder / "config.json"]
    if folder != place and not place.name.endswith(".index.json"):
        candidates.insert(0, place.with_suffix(".config.json"))
    for path in candidates:
        if path.is_file():
            return path
    # Cached names, `<hash>.config.json`.
    others = sorted(folder.glob("*.config.json"))
    if others:
        return others[0]
    problem = f"config.json not found or unreadable: {candidates[-1]}"
    if len(candidates) > 1:
        problem = f"No config.json found for {place}"
    raise ModelError(folder, CONFIG_GATE, problem, advice=FETCH_CONFIG)


def config_from_gguf(path: Path, metadata: Mapping[str, Any], entries: Mapping[str, TensorEntry]) -> ModelConfig:
    """Read the keys `{architecture}.*` of a GGUF file. Rows of Llama families are un-permuted on reading: half."""
    reader = _Reader(path, metadata)
    architecture = reader.text("general.architecture")
    key = f"{architecture}."
    hidden, heads = reader.count(key + "embedding_length"), reader.count(key + "attention.head_count")
    embedding = _first(entries, EMBEDDINGS)
    rows = embedding.shape[0] if embedding is not None else None
    experts = reader.count(key + "expert_count") if metadata.get(key + "expert_count") else 0
    window = key + "attention.sliding_window"
    latent = latent_from_gguf(metadata, key, reader.count)
    return ModelConfig(
        architecture=architecture,
        hidden_size=hidden,
        num_layers=reader.count(key + "block_count", limit=MOST_LAYERS),
        num_heads=heads,
        num_kv_heads=heads if latent else reader.count(key + "attention.head_count_kv", heads),
        head_dim=latent.key if latent else reader.count(key + "attention.key_length", max(1, hidden // heads)),
        intermediate_size=reader.count(key + "feed_forward_length"),
        vocab_size=reader.count(key + "vocab_size", rows),
        max_position_embeddings=reader.count(key + "context_length"),
        rope_theta=reader.number(key + "rope.freq_base", metadata.get(key + "rope.freq_base", 10000.0)),
        rope_style="half",
        rms_norm_eps=reader.number(
            key + "attention.layer_norm_rms_epsilon",
            _given(*(metadata.get(f"{key}attention.layer_norm_{kind}epsilon") for kind in ("rms_", "")), 1e-5),
        ),
        tied_embeddings=_first(entries, HEADS) is None,
        attention_bias=any(name.endswith((".attn_q.bias", "q_proj.bias", ".attn_qkv.bias")) for name in entries),
        hidden_act="silu",
        rope_scaling=scaling_from_gguf(path, metadata, key + "rope.scaling.", entries),
        sliding_window=reader.count(window) if metadata.get(window) else None,
        **_stored_biases(entries),
        num_experts=experts,
        expert_size=reader.count(key + "expert_feed_forward_length", reader.count(key + "feed_forward_length"))
        if experts
        else 0,
        shared_experts=reader.none_or_count(key + "expert_shared_count"),
        dense_layers=reader.none_or_count(key + "leading_dense_block_count"),
        latent=latent,
    )


def _stored_biases(entries: Mapping[str, TensorEntry]) -> dict[str, bool]:
    """The biases that a file has are those that its model declares."""
    return {
        "output_bias": any(name.endswith(("attn_output.bias", "self_attn.o_proj.bias")) for name in entries),
        "mlp_bias": any(name.endswith(("ffn_down.bias", "mlp.down_proj.bias")) for name in entries),
    }


_QUERY_BIASES = ("q_proj.bias", "attn_q.bias", "c_attn.bias", "query_key_value.bias", "wqkv.bias", "qkv_proj.bias")
APR_ALIASES = {
    "hidden_size": ("hidden_dim", "d_model", "n_embd", "model.hidden_size"),
    "num_layers": ("n_layers", "num_hidden_layers", "n_layer", "model.num_layers"),
    "num_heads": ("n_heads", "num_attention_heads", "n_head", "model.num_heads"),
    "num_kv_heads": ("n_kv_heads", "num_key_value_heads", "model.num_kv_heads"),
    "vocab_size": ("n_vocab", "model.vocab_size"),
    "intermediate_size": ("ffn_dim", "intermediate_dim", "n_inner", "model.intermediate_size"),
    "max_position_embeddings": ("max_seq_len", "context_length", "n_ctx", "model.max_position_embeddings"),
    "rms_norm_eps": ("layer_norm_eps", "norm_eps", "model.rms_norm_eps"),
    "rope_theta": ("model.rope_theta",),
    "rope_type": ("model.rope_type",),
    "architecture": ("model.architecture",),
}


def config_from_apr(path: Path, metadata: Mapping[str, Any], entries: Mapping[str, TensorEntry]) -> ModelConfig:
    """Read APR metadata, aliases resolved (apr-format 6.3). Defaults are those of the engine (section 7)."""
    values = dict(metadata)
    for name, aliases in APR_ALIASES.items():
        if values.get(name) is None:
            values[name] = next((metadata[a] for a in aliases if metadata.get(a) is not None), None)
    reader = _Reader(path, values)
    architecture = reader.text("architecture")
    hidden, heads = reader.count("hidden_size"), reader.count("num_heads")
    qwen = architecture in ("qwen2", "qwen3", "qwen3moe", "qwen3_moe")
    embedding = _first(entries, EMBEDDINGS)
    head = _first(entries, HEADS)
    rope_type = values.get("rope_type")
    if rope_type is None:
        rope_type = 2 if any(part in architecture for part in HALF_BY_NAME) else 0
    if isinstance(rope_type, bool) or not isinstance(rope_type, int) or rope_type not in ROPE_STYLES:
        found = repr(rope_type)[:40]
        raise ModelError(path, "metadata rope_type", "unknown rotary convention", found=found, limit="0 or 2")
    latent = latent_from_apr(values, reader.count)
    experts = reader.none_or_count("num_experts")
    eps_default = 1e-6 if architecture.startswith(("qwen", "gemma", "deepseek")) else 1e-5
    return ModelConfig(
        architecture=architecture,
        hidden_size=hidden,
        num_layers=reader.count("num_layers", limit=MOST_LAYERS),
        num_heads=heads,
        num_kv_heads=reader.count("num_kv_heads", heads),
        head_dim=latent.key if latent else reader.count("head_dim", max(1, hidden // heads)),
        intermediate_size=reader.count("intermediate_size"),
        vocab_size=reader.count("vocab_size", embedding.shape[0] if embedding is not None else None),
        max_position_embeddings=reader.count("max_position_embeddings"),
        rope_theta=reader.number("rope_theta", values.get("rope_theta") or (1e6 if qwen else 1e4)),
        rope_style=ROPE_STYLES[rope_type],
        rms_norm_eps=reader.number("rms_norm_eps", values.get("rms_norm_eps") or eps_default),
        tied_embeddings=reader.flag("tied_embeddings", False) or head is None or head.nbytes == 0,
        attention_bias=any(name.endswith(_QUERY_BIASES) for name in entries),
        hidden_act="silu",
        rope_scaling=scaling_from_hf(path, _mapping(path, values, "rope_scaling", "rope_parameters")),
        sliding_window=reader.count("sliding_window") if values.get("sliding_window") is not None else None,
        **_stored_biases(entries),
        num_experts=experts,
        expert_size=reader.count("moe_intermediate_size", reader.count("intermediate_size")) if experts else 0,
        shared_experts=reader.none_or_count("n_shared_experts"),
        dense_layers=reader.none_or_count("first_k_dense_replace"),
        latent=latent,
    )


def _mapping(path: Path, values: Mapping[str, Any], *fields: str) -> Mapping[str, Any]:
    """The first of FIELDS that is given, which must be a mapping."""
    found = _given(*(values.get(field) for field in fields), {})
    if not isinstance(found, dict):
        raise ModelError(path, fields[0], "is not a mapping", found=_shown(found))
    return found


def _first(entries: Mapping[str, TensorEntry], names: tuple[str, ...]) -> TensorEntry | None:
    return next((entries[name] for name in names if name in entries), None)


def _shown(value: Any) -> str:
    # Python refuses to print whole numbers of more than some thousand digits.
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a whole number of {value.bit_length()} bits"
    return repr(value)[:60]


class _Reader:
    """Typed access with one error form."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self._path = path
        self._values = values

    def count(self, field: str, default: int | None = None, limit: int = 2**31 - 1) -> int:
        value = self._values.get(field)
        value = default if value is None else value
        if value is None:
            raise ModelError(
                self._path, field, "is missing", advice="the file is incomplete: convert or fetch it again"
            )
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
            raise ModelError(self._path, field, "is not a positive whole number", found=_shown(value))
        if value > limit:
            raise ModelError(self._path, field, "is larger than of any model", found=value, limit=limit)
        return value

    def none_or_count(self, field: str, default: int = 0) -> int:
        """A count that may be 0; null means 0, an absent field the default."""
        if field not in self._values:
            return default
        return 0 if self._values[field] in (None, 0) else self.count(field)

    def given(self, field: str) -> bool:
        return self._values.get(field) is not None

    def number(self, field: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < LARGEST_NUMBER:
            raise ModelError(self._path, field, "is not a positive number", found=_shown(value))
        return float(value)

    def flag(self, field: str, default: bool) -> bool:
        value = self._values.get(field)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ModelError(self._path, field, "is neither true nor false", found=_shown(value))
        return value

    def text(self, field: str, default: str | None = None) -> str:
        value = self._values.get(field)
        value = default if value is None else value
        if not isinstance(value, str) or not value:
            raise ModelError(self._path, field, "is missing or not a name", found=_shown(value))
        return value
