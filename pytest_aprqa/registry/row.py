"""One row of models.csv: 20 columns, kept as text, so that what nobody changed is written back as it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

COLUMNS = (
    "model_id", "family", "parameters", "size_category", "status", "mqs_score", "grade", "certified_tier",
    "last_certified", "g1", "g2", "g3", "g4", "tps_gguf_cpu", "tps_gguf_gpu", "tps_apr_cpu", "tps_apr_gpu",
    "tps_st_cpu", "tps_st_gpu", "provenance_verified",
)  # fmt: skip
PROVEN_TIERS = ("none", "smoke", "quick", "mvp", "standard", "deep")  # a better one is never replaced by a lesser
WRITTEN_STATUSES = ("CERTIFIED", "PROVISIONAL", "BLOCKED", "PENDING")
READ_STATUSES = (*WRITTEN_STATUSES, "PARTIAL", "FAIL", "UNTESTED")  # the others are of older tools, and preserved
SPEEDS = COLUMNS[13:19]
GATEWAYS = COLUMNS[9:13]


@dataclass(frozen=True, slots=True)
class RegistryRow:
    """The texts of a row by column."""

    texts: Mapping[str, str]

    @classmethod
    def new(cls, model_id: str, **texts: str) -> RegistryRow:
        """A row of a model that was never run; `texts` as known."""
        empty = dict.fromkeys(COLUMNS, "")
        never_run = {
            "status": "PENDING",
            "mqs_score": "0",
            "grade": "-",
            "certified_tier": "none",
            "provenance_verified": "false",
        }
        return cls(empty | never_run | dict.fromkeys(GATEWAYS, "false") | {"model_id": model_id} | texts)

    def __getitem__(self, column: str) -> str:
        return self.texts[column]

    def changed(self, **texts: str) -> RegistryRow:
        """A copy with other texts in some columns. KeyError names a column that does not exist."""
        for name in texts:
            if name not in COLUMNS:
                raise KeyError(name)
        return RegistryRow(dict(self.texts) | texts)

    @property
    def score(self) -> int | None:
        """Raw score 0 to 1000, None when the text is no such number."""
        text = self["mqs_score"].strip()
        return int(text) if text.isdecimal() and int(text) <= 1000 else None

    @property
    def gateways_passed(self) -> bool:
        """True only when G1 to G4 are all `true`."""
        return all(self[name].strip().lower() == "true" for name in GATEWAYS)

    def problems(self) -> list[str]:
        """What breaks the rules of the registry, each as `column: problem`; an empty list for a sound row."""
        found = []
        if self["model_id"].count("/") != 1 or not all(self["model_id"].split("/")):
            found.append(f"model_id: {self['model_id']!r} is not ORG/NAME")
        if self["status"] not in READ_STATUSES:
            found.append(f"status: {self['status']!r} is not one of {', '.join(READ_STATUSES)}")
        if self.score is None:
            found.append(f"mqs_score: {self['mqs_score']!r} is not a whole number from 0 to 1000")
        if self["certified_tier"] not in PROVEN_TIERS:
            found.append(f"certified_tier: {self['certified_tier']!r} is not one of {', '.join(PROVEN_TIERS)}")
        for name in (*GATEWAYS, "provenance_verified"):
            if self[name].strip().lower() not in ("true", "false"):
                found.append(f"{name}: {self[name]!r} is not true or false")
        for name in SPEEDS:
            if self[name] and not _is_speed(self[name]):
                found.append(f"{name}: {self[name]!r} is not a speed in tokens/s")
        if self["status"] == "CERTIFIED" and not self.gateways_passed:
            found.append("status: CERTIFIED although a gateway is not true")
        return found


def _is_speed(text: str) -> bool:
    try:
        return 0 <= float(text) < float("inf")
    except ValueError:
        return False
