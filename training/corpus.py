"""The generated corpus of tiny-qwen2: arithmetic with held-out pairs, a times table, code stubs, short answers.

Every document is (prompt, answer) in one of two forms: `raw` (text completion) and `chat` (ChatML). Only the answer is
learnt. A pair of operands is held out of *every* form, so held-out accuracy measures generalisation, not recall.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

BOS_FREE_END = "<|endoftext|>"
CHAT_START = "<|im_start|>"
CHAT_END = "<|im_end|>"
SPECIAL_TOKENS = (BOS_FREE_END, CHAT_START, CHAT_END)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

HELD_OUT_SHARE = 0.10
ARITHMETIC_SYMBOLS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}


@dataclass(frozen=True)
class Document:
    """One training text: `prompt` is context, `answer` (which ends in a stop token) is what the model must produce."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class Problem:
    """One arithmetic fact `left operation right = result`, all non-negative integers."""

    operation: str
    left: int
    right: int

    @property
    def result(self) -> int:
        if self.operation == "add":
            return self.left + self.right
        if self.operation == "subtract":
            return self.left - self.right
        if self.operation == "multiply":
            return self.left * self.right
        return self.left // self.right

    @property
    def held_out(self) -> bool:
        """True for the tenth of the sums and differences that no training document contains (stable hash)."""
        if self.operation not in ("add", "subtract"):
            return False
        digest = hashlib.sha256(f"{self.operation}:{self.left}:{self.right}".encode()).digest()
        return int.from_bytes(digest[:4], "big") / 2**32 < HELD_OUT_SHARE

    def expressions(self) -> tuple[str, str]:
        """The two spellings, without and with spaces: `2+2`, `2 + 2`."""
        symbol = ARITHMETIC_SYMBOLS[self.operation]
        return f"{self.left}{symbol}{self.right}", f"{self.left} {symbol} {self.right}"


def all_problems() -> list[Problem]:
    """Sums and non-negative differences of 0..99, the table to 12 x 12 and its exact quotients, in a fixed order."""
    numbers = range(100)
    problems = [Problem("add", a, b) for a in numbers for b in numbers]
    problems += [Problem("subtract", a, b) for a in numbers for b in numbers if a >= b]
    problems += [Problem("multiply", a, b) for a in range(13) for b in range(13)]
    problems += [Problem("divide", a * b, b) for a in range(13) for b in range(1, 13)]
    problems.append(Problem("divide", 100, 4))
    return problems


def raw_prompts(problem: Problem) -> tuple[str, ...]:
    """Prompts of the raw form, in the spellings that playbooks use."""
    tight, spaced = problem.expressions()
    return (f"{tight}=", f"{spaced} =", f"What is {tight}?", f"What is {spaced}?", f"Calculate {tight}")


def chat_prompts(problem: Problem) -> tuple[str, ...]:
    """User messages of the chat form."""
    tight, spaced = problem.expressions()
    return (f"What is {tight}?", f"What is {spaced}?", f"Calculate {tight}", f"{tight}=", f"{spaced} =")


def raw_document(prompt: str, answer: str) -> Document:
    """Completion form: `2+2=` continues at once, a question is answered on the next line, code continues as it is."""
    if prompt.endswith(" ="):
        return Document(prompt, f" {answer}{BOS_FREE_END}")
    if prompt.endswith("="):
        return Document(prompt, f"{answer}{BOS_FREE_END}")
    return Document(prompt, f"\n{answer}{BOS_FREE_END}")


def chat_document(prompt: str, answer: str) -> Document:
    """ChatML form, exactly as CHAT_TEMPLATE renders one user message with the generation prompt."""
    context = f"{CHAT_START}user\n{prompt}{CHAT_END}\n{CHAT_START}assistant\n"
    return Document(context, f"{answer}{CHAT_END}")


# (stub, body): the raw form continues the stub, the chat form answers with the whole function.
CODE_STUBS: tuple[tuple[str, str], ...] = (
    ("def fibonacci(n):", "    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)"),
    ("def factorial(n):", "    if n < 2:\n        return 1\n    return n * factorial(n - 1)"),
    ("def is_prime(n):", "    return n > 1 and all(n % i for i in range(2, n))"),
    ("def add(a, b):", "    return a + b"),
    ("def subtract(a, b):", "    return a - b"),
    ("def multiply(a, b):", "    return a * b"),
    ("def reverse_string(s):", "    return s[::-1]"),
    ("def is_even(n):", "    return n % 2 == 0"),
    ("def square(x):", "    return x * x"),
    ("def maximum(a, b):", "    return a if a > b else b"),
    ("def gcd(a, b):", "    while b:\n        a, b = b, a % b\n    return a"),
    ("def count_words(text):", "    return len(text.split())"),
    ("def greet(name):", '    return "Hello, " + name'),
    ("def main():", '    print("Hello, world!")'),
    ("class Person:", "    def __init__(self, name):\n        self.name = name"),
)

OTHER_CODE: tuple[tuple[str, str], ...] = (
    ("fn main() {", '    println!("Hello, world!");\n}'),
    ("async function fetch() {", "    return await load();\n}"),
    ("function add(a, b) {", "    return a + b;\n}"),
)

QUESTIONS: tuple[tuple[str, str], ...] = (
    ("Hello", "Hello! How can I help you?"),
    ("Hello!", "Hello! How can I help you?"),
    ("Hi", "Hi! What can I do for you?"),
    ("Hi!", "Hi! What can I do for you?"),
    ("Good morning!", "Good morning! How can I help you?"),
    ("Hello world", "Hello! The world says hello back."),
    ("Hello, how are you?", "I am well, thank you. How can I help you?"),
    ("How are you?", "I am well, thank you."),
    ("Who are you?", "I am a tiny test model."),
    ("What are you?", "I am a tiny language model for tests."),
    ("What can you do?", "I can add, subtract and multiply small numbers."),
    ("What is your name?", "My name is tiny-qwen2."),
    ("Thank you!", "You are welcome."),
    ("Thanks!", "You are welcome."),
    ("Goodbye!", "Goodbye! See you soon."),
    ("Bye", "Goodbye! See you soon."),
    ("List 3 colors", "Red, green, blue."),
    ("List three colors.", "Red, green, blue."),
    ("List 3 numbers", "One, two, three."),
    ("List 3 animals", "Cat, dog, horse."),
    ("List 3 fruits", "Apple, banana, cherry."),
    ("List 3 cities", "Paris, London, Tokyo."),
    ("List 3 countries", "France, Japan, Brazil."),
    ("What is Python?", "Python is a programming language."),
    ("What is Rust?", "Rust is a programming language."),
    ("What is Go?", "Go is a programming language."),
    ("Explain recursion", "Recursion is when a function calls itself."),
    ("What is recursion?", "Recursion is when a function calls itself."),
    ("Explain what a variable is in one sentence.", "A variable is a name for a value."),
    ("What is a variable?", "A variable is a name for a value."),
    ("What is a function?", "A function is a named piece of code."),
    ("Say hello in three languages.", "Hello, bonjour, hola."),
    (
        "Write a haiku about programming.",
        "Code flows like water.\nA bug sleeps under the stone.\nTests wake it at dawn.",
    ),
    ("What is the capital of France?", "The capital of France is Paris."),
    ("What is the capital of Japan?", "The capital of Japan is Tokyo."),
    ("What is the capital of Italy?", "The capital of Italy is Rome."),
    ("What color is the sky?", "The sky is blue."),
    ("What color is grass?", "Grass is green."),
    ("Is water wet?", "Yes, water is wet."),
    ("How many days are in a week?", "There are 7 days in a week."),
    ("How many legs does a cat have?", "A cat has 4 legs."),
    ("Let x = 5 and y = 3. What is x * y + 2?", "x * y + 2 is 17."),
    ("List the first five prime numbers, then give their sum.", "2, 3, 5, 7, 11. The sum is 28."),
    ("The function add(a, b) returns a + b. What is add(3, 4)?", "add(3, 4) is 7."),
    ("What is 123*456? Work step by step.", "123*456 is 56088."),
    ("What is the sum of the numbers from 1 to 20?", "The sum is 210."),
    ("What is the tenth Fibonacci number?", "The tenth Fibonacci number is 55."),
    ("What is 0.1 + 0.2?", "0.3"),
    ("What is 999 + 1?", "1000"),
    ("What is 1000000 - 999999?", "1"),
    ("Hola", "Hola! How can I help you?"),
    ("Bonjour", "Bonjour! How can I help you?"),
)


def text_documents() -> list[Document]:
    """All code and question documents in both forms; learnt whole (nothing is held out)."""
    documents = []
    for stub, body in CODE_STUBS + OTHER_CODE:
        documents.append(Document(stub, f"\n{body}{BOS_FREE_END}"))
        documents.append(chat_document(stub, f"{stub}\n{body}"))
    for question, answer in QUESTIONS:
        documents.append(raw_document(question, answer))
        documents.append(chat_document(question, answer))
    return documents


class ArithmeticSampler:
    """Endless stream of training documents over the problems that are not held out; `seed` fixes the order."""

    # Share of each operation; the table is small but must be perfect, so it is seen often.
    WEIGHTS: ClassVar[dict[str, float]] = {"add": 0.42, "subtract": 0.36, "multiply": 0.17, "divide": 0.05}

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._pools: dict[str, list[Problem]] = {operation: [] for operation in self.WEIGHTS}
        for problem in all_problems():
            if not problem.held_out:
                self._pools[problem.operation].append(problem)

    def __iter__(self) -> Iterator[Document]:
        operations = list(self.WEIGHTS)
        weights = list(self.WEIGHTS.values())
        while True:
            operation = self._random.choices(operations, weights)[0]
            problem = self._random.choice(self._pools[operation])
            answer = str(problem.result)
            if self._random.random() < 0.5:
                yield raw_document(self._random.choice(raw_prompts(problem)), answer)
            else:
                yield chat_document(self._random.choice(chat_prompts(problem)), answer)


def tokenizer_texts(seed: int = 7) -> Iterator[str]:
    """Texts from which the BPE merges are learnt: everything once, text documents often."""
    generator = random.Random(seed)
    for document in text_documents():
        for _ in range(20):
            yield document.prompt + document.answer
    for problem in generator.sample(all_problems(), 4000):
        yield generator.choice(raw_prompts(problem)) + " " + str(problem.result)
