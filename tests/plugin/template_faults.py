"""An engine that shows the model another prompt than the file declares, in the way that APRQA_FAULT names."""

from __future__ import annotations

import os

from pytest_aprqa.engines.protocol import EngineDescription, GenerationResult
from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.models.chat_template import render_chat

FAULT = os.environ.get("APRQA_FAULT", "")


class TemplateFaults:
    def __init__(self, threads=None, backend="cpu"):
        self._tokenizer = None

    def load(self, artifact, progress):
        with open_artifact(artifact) as opened:
            self._tokenizer = opened.tokenizer
        return self.describe()

    def describe(self):
        return EngineDescription("template-faults", "1", "cpu", "none", 1)

    def close(self):
        pass

    def generate(self, requests, progress, on_token=None):
        return [self._one(request) for request in requests]

    def _one(self, request):
        ids = self._ids(request)
        told = None if FAULT.endswith("-counted") else ids
        return GenerationResult(
            request.key, "4 is the answer.", told, [1, 2], "stop", 0.01, 0.001, prompt_tokens=len(ids)
        )

    def _ids(self, request):
        encode = self._tokenizer.encode
        if request.mode == "raw":
            if FAULT.startswith("raw-in-template"):
                return encode(self._wrapped(request.prompt), add_special=False)
            return [5, *encode(request.prompt)] if FAULT == "extra-begin-token" else encode(request.prompt)
        text = self._wrapped(request.prompt)
        if FAULT == "template-twice":
            text = self._wrapped(text)
        if FAULT == "no-template":
            text = request.prompt
        if FAULT == "system-message":
            text = self._wrapped(request.prompt, {"role": "system", "content": "You are kind."})
        return encode(text, add_special=False)

    def _wrapped(self, prompt, *before):
        return render_chat(self._tokenizer.chat_template, [*before, {"role": "user", "content": prompt}])
