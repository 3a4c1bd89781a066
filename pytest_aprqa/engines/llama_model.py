"""A GGUF file in llama.cpp: tokens, text pieces, logits. The only place that speaks to the library's C interface."""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import numpy

from pytest_aprqa.engines.errors import EngineError, EngineLoadError, EngineUnavailable

BATCH = 512  # tokens of one decode call: the library's own default of a physical batch
FIRST_CONTEXT = 2048  # tokens; a longer prompt makes a longer context, up to what the file declares
LONGEST_PIECE = 1 << 16  # bytes of one token's text
ALL_LAYERS = 999
WARNING_LEVEL = 2
_last_words: deque[str] = deque(maxlen=20)


def _listen(level: int, text: bytes, user_data: Any) -> None:
    line = text.decode("utf-8", errors="replace").strip()
    if line and level >= WARNING_LEVEL and level <= WARNING_LEVEL + 1:
        _last_words.append(line)
        print(line, file=sys.stderr)


_LISTENER = llama_cpp.llama_log_callback(_listen)  # kept: the library calls it as long as it lives


class LlamaModel:
    """One loaded file with one context, which grows when a longer one is needed. Not thread-safe."""

    def __init__(
        self, path: Path, *, gpu: bool, threads: int | None, on_progress: Callable[[float], None] | None = None
    ) -> None:
        llama_cpp.llama_backend_init()
        llama_cpp.llama_log_set(_LISTENER, ctypes.c_void_p(0))
        if gpu and not llama_cpp.llama_supports_gpu_offload():
            raise EngineUnavailable("no GPU: llama.cpp is built without a GPU backend")
        _last_words.clear()
        parameters = llama_cpp.llama_model_default_params()
        parameters.n_gpu_layers = ALL_LAYERS if gpu else 0
        if on_progress is not None:
            self._progress = llama_cpp.llama_progress_callback(lambda share, _: on_progress(share) or True)
            parameters.progress_callback = self._progress
        self._context: Any = None
        self._held = 0
        self._threads = threads
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        if not self._model:
            raise EngineLoadError(
                f"{path}: llama.cpp cannot load the file: {'; '.join(_last_words)[-400:] or 'no reason'}"
            )
        self._vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self.rows = int(llama_cpp.llama_vocab_n_tokens(self._vocabulary))
        self.declared_context = int(llama_cpp.llama_model_n_ctx_train(self._model))
        try:
            self._reserve(min(self.declared_context, FIRST_CONTEXT))
        except EngineError as error:
            self.close()
            raise EngineLoadError(f"{path}: {error}") from None

    # -- what the file declares ----------------------------------------------------------------------------------------

    @property
    def description(self) -> str:
        """Architecture, size and type as the library names them."""
        buffer = ctypes.create_string_buffer(256)
        llama_cpp.llama_model_desc(self._model, buffer, len(buffer))
        return buffer.value.decode("utf-8", errors="replace")

    def metadata(self, key: str) -> str | None:
        """A metadata value as text."""
        buffer = ctypes.create_string_buffer(4096)
        length = llama_cpp.llama_model_meta_val_str(self._model, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", errors="replace") if length >= 0 else None

    @property
    def chat_template(self) -> str | None:
        """The file's own template."""
        template = llama_cpp.llama_model_chat_template(self._model, None)
        return template.decode("utf-8", errors="replace") if template else None

    @property
    def bos_text(self) -> str | None:
        """Text of the token that begins a sequence, None where there is none."""
        return self._special(llama_cpp.llama_vocab_bos(self._vocabulary))

    @property
    def eos_text(self) -> str | None:
        """Text of the token that ends a sequence, None where there is none."""
        return self._special(llama_cpp.llama_vocab_eos(self._vocabulary))

    def _special(self, token: int) -> str | None:
        return self.piece(token, special=True).decode("utf-8", errors="replace") if token >= 0 else None

    # -- tokens --------------------------------------------------------------------------------------------------------

    def encode(self, text: str, *, add_special: bool) -> list[int]:
        """Ids of a text; special tokens in it are recognised, `add_special` adds what the file says to add."""
        data = text.encode("utf-8", errors="replace")
        room = len(data) + 16
        for _ in range(2):
            tokens = (llama_cpp.llama_token * room)()
            count = llama_cpp.llama_tokenize(self._vocabulary, data, len(data), tokens, room, add_special, True)
            if count >= 0:
                return list(tokens[:count])
            room = -count
        raise EngineError(f"llama.cpp cannot encode a text of {len(data)} bytes")

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """Bytes of one token; those of a control token only with `special`."""
        size = 256
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = llama_cpp.llama_token_to_piece(self._vocabulary, token, buffer, size, 0, special)
            if length >= 0:
                return buffer.raw[:length]
            size = -length
            if size > LONGEST_PIECE:
                raise EngineError(f"token {token}: its text has {size} bytes, limit {LONGEST_PIECE}")

    def ends(self, token: int) -> bool:
        """Whether the library stops at this token."""
        return bool(llama_cpp.llama_vocab_is_eog(self._vocabulary, token))

    # -- computing -----------------------------------------------------------------------------------------------------

    def forget(self, needed: int) -> None:
        """Begin a sequence of at most `needed` tokens."""
        if needed > self._held:
            self._reserve(min(self.declared_context, 1 << (needed - 1).bit_length()))
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        self._position = 0

    def decode(self, ids: Sequence[int], *, first: int | None = None, lasting: bool = True) -> numpy.ndarray:
        """Append ids to the sequence; float32 logits [rows, vocabulary] of the ids from `first` on.

        `first` None: the last id only. Not `lasting`: perhaps the library's own memory, to be read before the next
        call. EngineError when it fails.
        """
        first = len(ids) - 1 if first is None else first
        if not lasting and len(ids) <= BATCH:
            self._decode_piece(ids, range(first, len(ids)))
            return self._rows(range(first, len(ids)))
        logits = numpy.empty((len(ids) - first, self.rows), numpy.float32)
        for begin in range(0, len(ids), BATCH):
            piece = ids[begin : begin + BATCH]
            wanted = range(max(first - begin, 0), len(piece))
            # The library wants a row of every batch: of one in front of `first` its last, which nobody reads.
            self._decode_piece(piece, wanted or range(len(piece) - 1, len(piece)))
            for number in wanted:
                logits[begin + number - first] = self._row(number)
        return logits

    def _decode_piece(self, ids: Sequence[int], wanted: range) -> None:
        batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
        try:
            batch.n_tokens = len(ids)
            for number, token in enumerate(ids):
                batch.token[number] = token
                batch.pos[number] = self._position + number
                batch.n_seq_id[number] = 1
                batch.seq_id[number][0] = 0
                batch.logits[number] = number in wanted
            status = llama_cpp.llama_decode(self._context, batch)
        finally:
            llama_cpp.llama_batch_free(batch)
        if status != 0:
            raise EngineError(f"llama.cpp cannot decode {len(ids)} tokens at {self._position}: status {status}")
        self._position += len(ids)

    def _row(self, number: int) -> numpy.ndarray:
        """The library's own row of logits of one token of the last batch."""
        pointer = llama_cpp.llama_get_logits_ith(self._context, number)
        if not pointer:
            raise EngineError(f"llama.cpp tells no logits of token {number} of a batch")
        return numpy.ctypeslib.as_array(pointer, shape=(self.rows,))

    def _rows(self, wanted: range) -> numpy.ndarray:
        """Logits of so many tokens of the last batch: in place where the library's rows follow each other."""
        rows = [self._row(number) for number in wanted]
        addresses = numpy.asarray([row.ctypes.data for row in rows])
        if (numpy.diff(addresses) == rows[0].nbytes).all():
            return numpy.lib.stride_tricks.as_strided(rows[0], (len(rows), self.rows), (rows[0].nbytes, 4))
        return numpy.stack(rows)

    def _reserve(self, tokens: int) -> None:
        self._free_context()
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = tokens
        parameters.n_batch = parameters.n_ubatch = BATCH
        if hasattr(parameters, "n_outputs_max"):
            parameters.n_outputs_max = BATCH
        if self._threads:
            parameters.n_threads = parameters.n_threads_batch = self._threads
        self._context = llama_cpp.llama_init_from_model(self._model, parameters)
        if not self._context:
            raise EngineError(f"llama.cpp makes no context of {tokens} tokens: {'; '.join(_last_words)[-300:]}")
        self._held = tokens
        self._position = 0

    def _free_context(self) -> None:
        if self._context:
            llama_cpp.llama_free(self._context)
            self._context = None

    def close(self) -> None:
        """Free context and model."""
        self._free_context()
        if self._model:
            llama_cpp.llama_model_free(self._model)
            self._model = None
