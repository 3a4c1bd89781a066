"""What transformers answers: greedy ids in float32 on the weights of a folder, or on those of one of our files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pytest_aprqa.formats.opening import open_tensor_file


class Reference:
    """A model folder in transformers: `prompt_ids` as the folder's tokenizer gives them, `greedy` continues ids."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()

    def load(self, artifact: Path) -> Reference:
        """The same model with the values stored in ARTIFACT (an APR file with Hugging Face names), decoded by us."""
        with open_tensor_file(artifact) as file:
            state = {name: torch.from_numpy(file.read(name)) for name in file.entries if file.entries[name].nbytes}
        missing, unexpected = self.model.load_state_dict(state, strict=False)
        assert not unexpected
        assert set(missing) <= {"lm_head.weight"}
        return self

    def prompt_ids(self, prompt: str) -> list[int]:
        """Ids without special tokens: the program adds none of its own."""
        ids: list[int] = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        return ids

    @torch.inference_mode()
    def greedy(self, ids: list[int], tokens: int = 16, stop: int | None = None) -> list[int]:
        """The TOKENS most likely ids after IDS, one by one; ends after STOP, which is not returned."""
        found: list[int] = []
        for _ in range(tokens):
            logits = self.model(torch.tensor([[*ids, *found]])).logits[0, -1]
            token = int(logits.argmax())
            if token == stop:
                break
            found.append(token)
        return found

    @torch.inference_mode()
    def gaps(self, ids: list[int], chosen: list[int]) -> list[float]:
        """By how much each of CHOSEN, told one after the other, misses the best logit: in standard deviations."""
        logits = self.model(torch.tensor([[*ids, *chosen]])).logits[0, len(ids) - 1 : -1]
        best = logits.max(dim=-1).values
        return [float((best[n] - logits[n, token]) / logits[n].std()) for n, token in enumerate(chosen)]
