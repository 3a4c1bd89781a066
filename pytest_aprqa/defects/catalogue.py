"""The catalogue of seeded defects, by name: what `--falsify` and the tests of the gates work through."""

from __future__ import annotations

import difflib
from pathlib import Path

from pytest_aprqa.defects import in_apr, in_companions, in_gguf, in_gguf_keys, in_quantised, in_safetensors
from pytest_aprqa.defects.defect import Defect
from pytest_aprqa.defects.errors import DefectError

DEFECTS: dict[str, Defect] = {
    defect.name: defect
    for defect in (
        *in_safetensors.DEFECTS,
        *in_companions.DEFECTS,
        *in_apr.DEFECTS,
        *in_gguf.DEFECTS,
        *in_gguf_keys.DEFECTS,
        *in_quantised.DEFECTS,
    )
}


def apply_defect(name: str, source: Path, target: Path) -> Path:
    """Copy `source` to the new path `target`, seed the defect `name` into the copy and return `target`.

    SafeTensors defects take a model folder, APR and GGUF defects a file. The source is never written to. Raises
    DefectError (unknown name, wrong kind, target exists) or DefectNotApplicableError (nothing there to break).
    """
    defect = DEFECTS.get(name)
    if defect is None:
        close = difflib.get_close_matches(name, DEFECTS, n=3)
        raise DefectError(source, name, "no such defect", f"did you mean {', '.join(close)}?" if close else None)
    return defect.apply(source, target)


def defects_of(format_name: str) -> list[Defect]:
    """The defects of one format ("safetensors", "apr", "gguf"), in catalogue order."""
    return [defect for defect in DEFECTS.values() if defect.format == format_name]
