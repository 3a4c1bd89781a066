"""Texts and byte sequences on which tokenizers are known to part, and the comparison of two declarations over them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.token_causes import BYTE_ALPHABET, declaration_problems, likely_cause
from pytest_aprqa.models.tokenizer import TokenizerDeclaration

_SCRIPTS = (
    "Hello", "Hello, World! How are you?", "Grüße aus Köln, Straße 5", "Ça va? Où êtes-vous, François?",
    "Привет, как дела?", "Γειά σου Κόσμε", "你好，世界。今天天气很好！", "こんにちは、世界。カタカナも",
    "안녕하세요 세계", "مرحبا بالعالم، كيف حالك؟", "שלום עולם", "नमस्ते दुनिया", "สวัสดีชาวโลก", "ខ្មែរ អក្សរ",
    "வணக்கம் உலகம்", "ქართული ენა",
    "Tiếng Việt có dấu", "Cửa Việt", "İstanbul'da ılık", "ſtraße ǅ ﬁ ﬀ", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛", "ＡＢＣ １２３", "𐐷𐐨 𞤀𞤣",
    "ⅷ ½ ² ①",
)  # fmt: skip
_DIGITS = (
    "3", "33", "333", "3333", "33333", "333333", "3333333", "33333333", "1234567890 3.14e-10 0x1F", "1,000,000.50 €",
    "٣٤٥ १२३ 一二三", "2026-11-21T10:00:00Z", "v1.2.3-rc4", "a1b2c3 4d5e6f",
)  # fmt: skip
_WHITESPACE = (
    " ", "  ", "   ", "        ", "\t", "\t\t x", "\n", "\n\n", "\n\n\n", "\r\n", "\r\n\r\n x", " \n \t\n", " Hello",
    "  Hello  World  ", "Hello\n", "Hello \n World", "a\u00a0b", "a\u2003b\u3000c", "a\u2028b\u2029c", "\u200b\u200bx",
    "\ufeffx", "x\x0by\x0cz", "a  b   c    d     e", "\n =", "' era", "",
)  # fmt: skip
_EMOJI = (
    "🙂🙃",
    "👨‍👩‍👧‍👦 family",
    "🏳️‍🌈 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "👍🏽👍🏿",
    "1️⃣ #️⃣",
    "❤️ vs ❤",
    "🇩🇪🇫🇷",
    "🚀 (normal) 😶‍🌫️ (multiple emojis concatenated) ✅",
)
_MARKS = (
    "e\u0301 é",
    "n\u0303o ño",
    "Z\u0351\u036b\u0343a\u0311l\u034fgo",
    "\u1100\u1161\u11a8 각",
    "o\u0308\u0323",
    "\u0301",
)
_CODE = (
    "def add(a, b):\n    return a + b\n", "fn main() {\n\tprintln!(\"{}\", x::<u8>());\n}\n", "if (a!=b&&c||!d) {e++;}",
    "x = {'a': [1, 2], \"b\": None}  # it's", "SELECT * FROM t WHERE a<>'b';", "<div class=\"x\">&nbsp;</div>",
    "https://example.org/a?b=c&d=%20#e", "C:\\dir\\file.txt", "camelCaseHTMLParser snake_case_name", "$$\\frac{a}{b}$$",
    "it's IT'S we'll WE'LL I'd I'D they've 'tis ’s", "!!!!!! ...... ------ ====== ''''''```````",
    "`a` ~b~ ^c^ |d| <=> +=",
)  # fmt: skip
_SPECIAL = (
    "<|im_start|>user\nHi<|im_end|>\n", "<|endoftext|>", "a<|endoftext|>b", "<s>[INST] Hi [/INST]</s>",
    "<s> <s>", "</s>",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>", "<start_of_turn>user\nHi<end_of_turn>",
    "<|im_start|", "<unk> <pad> [CLS] [SEP] [MASK]", "<tool_call>{}</tool_call>", "<0x0A><0xFF>", "▁ ▁a", "Ġ Ċ",
)  # fmt: skip
_CONTROL = ("\x00", "a\x00b", "\x01\x02\x1b[31m", "\x7f", "\x85", "\ufffd", "\ufffe", "\U0010ffff", "\u202eabc\u202c")
_LONG = ("a" * 600, "pneumono" * 40, "你" * 300, "ab " * 200, " " * 300, "1" * 300, "\n" * 100, "é" * 200, "🙂" * 80)
#: kinds of texts that every tokenizer of one model must split alike
KINDS: dict[str, tuple[str, ...]] = {
    "scripts": _SCRIPTS, "digits": _DIGITS, "whitespace": _WHITESPACE, "emoji": _EMOJI, "combining marks": _MARKS,
    "code": _CODE, "special tokens": _SPECIAL, "control characters": _CONTROL, "long runs": _LONG,
}  # fmt: skip
BATTERY: tuple[str, ...] = tuple(text for texts in KINDS.values() for text in texts)
#: bytes that are no UTF-8 or its borders, for the way back: one token per byte, decoded together
BYTE_CASES: tuple[bytes, ...] = (
    b"\xff", b"\xc3", b"\xe4\xbd", b"\xf0\x9f\x99", b"\x80\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
    b"a\xe4\xbdb", b"\xe4\xbd\xa0\xff\xe5\xa5\xbd", b"\xf0\x9f\x99\x82", b"\xc3\xa9\xc3", b"ok\xfe\xff",
)  # fmt: skip
LARGEST_REPORT = 200  # problems told of one comparison


@dataclass(frozen=True, slots=True)
class TokenProblem:
    """One text, byte sequence or declared field in which two tokenizers part. `at`: first differing token, or -1."""

    text: str
    at: int
    expected: str
    found: str
    cause: str

    @property
    def where(self) -> str:
        """The text (shortened) or the declared field."""
        return self.text if self.at < 0 else f"{self.text[:40]!r}, token {self.at}"

    def __str__(self) -> str:
        return f"{self.where}: {self.found}, expected {self.expected} ({self.cause})"


@dataclass(slots=True)
class TokenComparison:
    """Counts of what was compared, problems, and `notes`: differences that no file of the target's format can avoid.

    `alike`: the texts that the target was seen to split as the source does, as far as its format can declare it.
    """

    texts: int = 0
    tokens: int = 0
    alike: set[str] = field(default_factory=set)
    problems: list[TokenProblem] = field(default_factory=list)
    notes: list[TokenProblem] = field(default_factory=list)

    @property
    def causes(self) -> list[str]:
        """Each cause once, in the order of the problems."""
        return list(dict.fromkeys(problem.cause for problem in self.problems))


def compare_tokenizers(
    source: TokenizerDeclaration,
    target: TokenizerDeclaration,
    texts: Iterable[str] = BATTERY,
    *,
    rows: int | None = None,
    types_required: bool = False,
) -> TokenComparison:
    """Compare `target` with `source` over `texts`, byte sequences and declared fields.

    `rows`: embedding rows of the target's model. `types_required`: a target without token types is a problem (GGUF).
    ModelError: the source cannot encode, or no token was compared. What the target cannot do is a problem.
    """
    result = TokenComparison()
    for name, expected, found, cause in declaration_problems(source, target, rows, types_required):
        result.problems.append(TokenProblem(name, -1, expected, found, cause))
    known: dict[str, str] = {}
    for text in texts:
        expected_ids = source.encode(text)
        result.texts += 1
        result.tokens += len(expected_ids)
        if len(result.problems) < LARGEST_REPORT and _compare_text(source, target, text, expected_ids, result, known):
            result.alike.add(text)
    if not result.tokens:
        raise ModelError(target.path, "tokenizer", "no token was compared", advice="give texts that are not empty")
    for case in BYTE_CASES:
        if "error" not in known:
            _compare_bytes(source, target, case, result)
    return result


def _compare_text(
    source: TokenizerDeclaration,
    target: TokenizerDeclaration,
    text: str,
    expected: Sequence[int],
    result: TokenComparison,
    known: dict[str, str],
) -> bool:
    """Whether the text comes out alike; what differs goes into the result."""
    try:
        found = target.encode(text)
    except ModelError as error:
        if "error" not in known:
            known["error"] = str(error)
            result.problems.append(TokenProblem(text, 0, f"ids {_shown(expected, 0)}", error.problem, str(error)))
        return False
    if list(expected) == found:
        back, wanted = target.decode(found, skip_special=False), source.decode(expected, skip_special=False)
        if back != wanted:
            cause = "the decoder differs: the same ids give another text"
            result.problems.append(TokenProblem(text, 0, repr(wanted[:40]), repr(back[:40]), cause))
        return back == wanted
    pairs = zip(expected, found, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(expected), len(found)))
    numbers = f"ids {_shown(expected, at)}", f"ids {_shown(found, at)}"
    composed = unicodedata.normalize("NFC", text)
    # A key for a normaliser exists in neither GGUF nor APR: the text as the source normalises it must come out alike.
    if composed != text and target.hf_json is None and target.encode(composed) == list(expected):
        cause = "normaliser missing: the source composes accents first, the format cannot declare it"
        result.notes.append(TokenProblem(text, at, *numbers, cause))
        return True
    result.problems.append(TokenProblem(text, at, *numbers, likely_cause(source, target, text, known)))
    return False


def _compare_bytes(
    source: TokenizerDeclaration, target: TokenizerDeclaration, case: bytes, result: TokenComparison
) -> None:
    ids = _byte_ids(source, case)
    # Ids that name other tokens are told as such; here only the decoder counts.
    if ids is None or max(ids) >= target.vocab_size or any(source.tokens[i] != target.tokens[i] for i in ids):
        return
    try:
        wanted, found = source.decode(ids), target.decode(ids)
    except ModelError as error:
        result.problems.append(TokenProblem(repr(case), 0, "a text", error.problem, "the decoder refuses bytes"))
        return
    if wanted != found:
        cause = "the decoder differs on bytes that are no UTF-8"
        result.problems.append(TokenProblem(repr(case), 0, repr(wanted), repr(found), cause))


def _byte_ids(declaration: TokenizerDeclaration, case: bytes) -> list[int] | None:
    """Ids of the tokens of single bytes, None when the vocabulary has no such tokens."""
    index = declaration.index
    for names in ([BYTE_ALPHABET[byte] for byte in case], [f"<0x{byte:02X}>" for byte in case]):
        if all(name in index for name in names):
            return [index[name] for name in names]
    return None


def _shown(ids: Sequence[int], at: int) -> str:
    return str(list(ids[max(0, at - 1) : at + 4]))
