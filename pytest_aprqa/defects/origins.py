"""Where the seeded defects were seen: public issues (repository#number), measured tools, own notes."""

from __future__ import annotations

# Containers and transfers
LFS_POINTER = "huggingface/transformers#27923 and microsoft/OmniParser#34: HeaderTooLarge, cloned without git-lfs"
ERROR_PAGE = "ggml-org/llama.cpp#3358: the blob page was downloaded instead of the file"
CUT_SHORT = "ggml-org/llama.cpp#6885 (#6774), ollama/ollama#6228: data is not within the file bounds"
HOSTILE_COUNT = "measured: gguf 0.19.0 hangs on hostile counts"
SPLIT_LOST = "ggml-org/llama.cpp#15164: one file of a split set is not there; #9613: parts joined with cat"
TENSOR_LOST = "ggml-org/llama.cpp#7157: wrong number of tensors, expected 149, got 147"
TENSOR_LEFT = "ggml-org/llama.cpp#7457, #8761: wrong number of tensors, more than the architecture has"
STALE_INDEX = "Blaizzy/mlx-vlm#1827, Neph0s/CoSER#3: the index names shards of an earlier upload"
SHARD_LOST = "sgl-project/sglang#32279: a shard that the index names is not there, weights stay random"
RANDOM_FILL = "huggingface/transformers#7167: a tensor that the file lacks is filled with random values and a warning"
ADAPTER_LEFT = "ggml-org/llama.cpp#11554: adapter tensors under names that the model does not have"
PADDING_NOT_COUNTED = "ollama/ollama#10510: padding of GGUF tensors added to one count and not to the other"
TYPE_UNKNOWN = "ggml-org/llama.cpp#11975: tensor has invalid ggml type 42"
TYPE_TOO_LARGE = "ikawrakow/ik_llama.cpp#2437: published tensors hold fewer bytes than their type needs"
FILES_COUNTED = "ml-explore/mlx-examples#413: total_size of an index is the size of the files, headers and all"

# Declarations
WRONG_SHAPE = "ggml-org/llama.cpp#12376: norm of the key heads expected with the size of the query heads"
KV_HEADS = "meta-llama/llama#427, LostRuins/koboldcpp#419: attn_k.weight has wrong shape"
ROPE_BASE = "ollama/ollama#2379, ggml-org/llama.cpp#2773: rotary base not written, engines take 10000"
ROPE_SCALING = "ggml-org/llama.cpp#8676, #24820: rotary scaling lost or dropped without a word"
NORM_EPSILON = "meta-llama/llama#771, ggml-org/llama.cpp#2374: norm epsilon of another model version"
UNKNOWN_FAMILY = "ggml-org/llama.cpp#24001, mudler/LocalAI#10820: unknown model architecture"
UNTIED_HEAD = "huggingface/transformers#43429: tied head not tied, gibberish"

# Weights
ROTARY_ROWS = "ggml-org/llama.cpp#3364, #22611: q/k rows in the wrong rotary order, gibberish"
FP16_OVERFLOW = "InternLM/InternEvo#278: trained in bf16, infinite or NaN in fp16"
NAN_BLOCKS = "ikawrakow/ik_llama.cpp#649, ggml-org/llama.cpp#8661: NaN block scales in published files"
BIT_ROT = "measured: no reader of GGUF or SafeTensors has a checksum; a turned bit in a block passes them all"
BYTE_ORDER = "ggml-org/llama.cpp#11349, #12863: block scales not swapped between byte orders"
SILENT_FALLBACK = "ggml-org/llama.cpp#28474: 141 of 417 tensors stored in another type than asked"
NORM_PLUS_ONE = "ggml-org/llama.cpp#5631, vllm-project/vllm#31464: norm weights one too large or too small"
EMBEDDING_SCALED = "mattn/tensai#248: the embedding table was scaled by the root of the hidden size, then cached"
ACTIVATIONS_OVERFLOW = "QwenLM/Qwen3#826, huggingface/transformers#5651: finite weights, NaN in hidden states"
NORMS_SCALED = "ggml-org/llama.cpp#22565: report of norm weights 1.2 to 4 times their source's"
HEAD_SCALED = (
    "vllm-project/vllm#52997: rows of V scaled by K's scale; vllm-project/llm-compressor#2818: scales per head"
)
BIASES_LOST = "sbryngelson/ANEForge#253, onnxruntime/mobius#396: q/k/v biases of Qwen2 dropped, garbage"
LAYER_ORDER = "b4rtaz/distributed-llama#52, ollama/ollama#12015: layers written in the order of their names"
ROLES_MIXED = "b4rtaz/distributed-llama#52: which of w1, w2, w3 is gate, up and down"
EMBEDDING_ROWS = "h2oai/h2o-llmstudio#297: embedding of 32001 rows after a padding token was inserted"

# Tokenizers and templates
PRE_TOKENIZER = "ollama/ollama#17698: Llama 4 written with tokenizer.ggml.pre=default; ggml-org/llama.cpp#7724"
TYPES_OF_TOKENS = "unslothai/unsloth#5080, #6229: control tokens typed as normal text"
ADDED_TOKENS = "ggml-org/llama.cpp#15842: added tokens are missing after the conversion"
VOCABULARY_SIZE = "ggml-org/llama.cpp#3633: vocabulary of 32256 against 32022 tokens; huggingface/transformers#24899"
OTHER_TOKENIZER = "ggml-org/llama.cpp#23252: the GGUF tokenises otherwise than the repaired source"
BOS_TWICE = "abetlen/llama-cpp-python#1501, ggml-org/llama.cpp#7107: prompts with two or no BOS"
BASE_END = "unslothai/unsloth#468, QwenLM/Qwen3#927: EOS of the base model beside the end of turn, no end"
STRIPPING = "axolotl-ai-cloud/axolotl#678: saved with lstrip and rstrip, spaces around special tokens are eaten"
WRONG_END = "huggingface/open-r1#663, QwenLM/Qwen3#927: another end token in one file than in the other, no end"
MERGES = "ggml-org/llama.cpp#3732, #9692: cannot find tokenizer merges in model file"
NO_TEMPLATE = "ggml-org/llama.cpp#8403, mudler/vllm.cpp#2077: no chat template, a guessed one is used"
STRICT_TEMPLATE = "FasterDecoding/Medusa#102, ggml-org/llama.cpp#11402: roles must alternate"
SHOWN_CONTROL = "huggingface/transformers#48658, ggml-org/llama.cpp#8321: saved as special: false, shown in answers"
TURN_TOKENS = "unslothai/unsloth#5070: turn tokens typed as normal, prompts split them into letters"
WRONG_BEGIN = "ggml-org/llama.cpp#7898: BOS is token 11, a comma; axolotl-ai-cloud/axolotl#801: the base model's"
EOS_LOST = "JustVugg/colibri#1478, ggml-org/llama.cpp#2711: no end token in the converted file, answers never end"

# Other declarations
GENERATION_ENDS = "InfiniTensor/InfiniLM#387, huggingface/transformers#38330: one of two end tokens obeyed, no end"
SAMPLING = "vllm-project/llm-compressor#2153, huggingface/lighteval#814: engines sample as generation_config.json says"
OTHER_CARD = "LlamaEdge/LlamaEdge#269: the card of one model listed the quantised files of another"
CARD_TYPE = "meta-llama/llama-verifications#38: nobody can tell from a card in which type the weights are"
OTHER_CODE = "mlabonne/llm-course#47: config.json of a merge names another model's class"
LEFT_QUANTISED = (
    "ml-explore/mlx-lm#223, unslothai/unsloth#1601: quantization_config left behind, the weights are floats"
)
OTHER_DTYPE = "huggingface/transformers#29955: config.json declares another type than the tensors have"
LAYER_TYPES = "Blackwellboy/model-serving-minefield#107, huggingface/transformers#40126: layers of another attention"
ROTATED_PART = "onnxruntime/mobius#518, pie-project/pie#432: rotary keys lost or wrong, another part of a head rotates"
HEAD_KEYS = "Avarok-Cybersecurity/atlas#683, ggml-org/llama.cpp#27718: keys of head sizes that are not the model's"
OTHER_LABEL = "mohitsoni48/TurboLLM#171, ggml-org/llama.cpp#28474: general.file_type is not what the tensors are"

KEY_TYPE = "ggml-org/llama.cpp#14197: key expert_used_count has wrong type i32 but expected type u32"
KEY_MISSING = "ggml-org/llama.cpp#12367, #28989: key not found in model: layer_norm_rms_epsilon"
FACTOR_WITHOUT_TYPE = "measured: llama.cpp's loader takes linear scaling where a factor stands without a type"
HEAD_COPY = "ggml-org/llama.cpp#12451, #13328: converters store a copy of a tied head, and engines compute with it"
NO_ARCHITECTURES = "vllm-project/vllm#8924: config.json without the names of its classes, no engine to choose"
ADDED_CODE = "mzau/mlx-knife#71, unslothai/unsloth#6478: auto_map of config.json runs code that came with the weights"
SHORT_ANSWERS = "huggingface/transformers#16664, #13424: max_length 20 saved with the model cuts every answer"

# The released apr 0.72.3, measured on its own files
APR_RELEASE = "measured: apr 0.72.3, {}"
