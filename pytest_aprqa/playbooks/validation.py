"""The JSON Schema of playbooks at work: quoted numbers and booleans, unknown keys, and faults said in one line each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pytest_aprqa.playbooks.document import Document, close_match, number_of
from pytest_aprqa.playbooks.errors import KeyPath, PlaybookError, one_line, shown_value

if TYPE_CHECKING:
    import jsonschema

SCHEMA_PATH = Path(__file__).parent / "playbook.schema.json"
VERIFICATION_SCHEMA_PATH = Path(__file__).parent / "verification.schema.json"
# Words that a boolean field accepts, in any case, quoted or not.
BOOLEAN_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
# Python's `$` also matches before a final line break; the schema's patterns exclude that.
_NO_FINAL_NEWLINE = r"(?!\n)"
_TYPE_NAMES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}


@cache
def schema() -> dict[str, Any]:
    """The published schema of playbooks (JSON Schema 2020-12)."""
    loaded: dict[str, Any] = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    return loaded


@cache
def verification_schema(kind: str) -> dict[str, Any]:
    """The schema of a file beside the model playbooks: `ticket`, `hypotheses`, `specification` or `skips`."""
    loaded: dict[str, Any] = json.loads(VERIFICATION_SCHEMA_PATH.read_text(encoding="utf-8"))
    del loaded["anyOf"]  # for editors, which do not know the kind; the faults of one kind are clearer
    return loaded | {"$ref": f"#/$defs/{kind}", "$id": f"{loaded['$id']}:{kind}"}


@cache
def _root(kind: str | Path | None) -> dict[str, Any]:
    """The schema of playbooks, of a kind of the other files, or in a file of its own."""
    if isinstance(kind, Path):
        loaded: dict[str, Any] = json.loads(kind.read_text(encoding="utf-8"))
        return loaded
    return schema() if kind is None else verification_schema(kind)


@cache
def _validator(kind: str | Path | None) -> jsonschema.Draft202012Validator:
    from jsonschema import Draft202012Validator, ValidationError
    from jsonschema.validators import extend

    def unique_items(_: Any, wanted: bool, value: Any, __: Any) -> Iterator[ValidationError]:
        # The library compares every pair of items that cannot be hashed: minutes for a hostile list.
        if wanted and isinstance(value, list) and len({repr(item) for item in value}) < len(value):
            yield ValidationError("has repeated items")

    extended = extend(Draft202012Validator, {"uniqueItems": unique_items})  # type: ignore[no-untyped-call]
    return cast("jsonschema.Draft202012Validator", extended(_root(kind)))


def check(document: Document) -> None:
    """Validate `document.data`, after converting quoted numbers and booleans in place.

    Raises PlaybookError for the first fault of the file; the others are in its `others`.
    """
    if not isinstance(document.data, dict):
        raise document.error(
            (),
            "a playbook must be a mapping of keys to values",
            found="an empty file" if document.data is None else shown_value(document.data),
            advice="start with `name:`, `version:`, `model:` and `test_matrix:`",
        )
    _refuse_placeholders(document)
    _raise_faults(document, None)


def check_verification(document: Document, kind: str) -> None:
    """As `check`, for the other kinds of files; `${MODEL}` in a command is theirs to fill in."""
    wanted, called = (list, "a list of entries") if kind == "skips" else (dict, "a mapping of keys to values")
    if not isinstance(document.data, wanted):
        found = "an empty file" if document.data is None else shown_value(document.data)
        raise document.error((), f"must be {called}", found=found, advice="see docs/how-to/write-a-playbook.md")
    _raise_faults(document, kind)


def check_table(document: Document, schema_file: Path) -> None:
    """As `check`, for a table of the package that has a schema of its own."""
    if not isinstance(document.data, dict):
        raise document.error((), "must be a mapping of keys to values", advice=f"see {schema_file.name}")
    _raise_faults(document, schema_file)


def _raise_faults(document: Document, kind: str | Path | None) -> None:
    faults: list[PlaybookError] = []
    root = _root(kind)
    _Conversion(root, document, faults).walk(root, document.data, ())
    faults += [_fault(document, error) for error in _validator(kind).iter_errors(document.data)]
    if faults:
        faults.sort(key=lambda fault: (fault.line or 0, fault.column or 0, str(fault)))
        raise faults[0].with_others(faults[1:])


def _refuse_placeholders(document: Document) -> None:
    def search(value: Any, path: KeyPath) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                search(key, (*path, key))
                search(inner, (*path, key))
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                search(inner, (*path, index))
        elif isinstance(value, str) and "${" in value:
            raise document.error(
                path,
                "the placeholder of a template is not filled in",
                found=shown_value(value),
                advice="copy the template and write the model's own value (MODEL_ID: ORG/NAME, MODEL_NAME: short name)",
            )

    search(document.data, ())


@dataclass(frozen=True, slots=True)
class _Conversion:
    """Converts scalars to the types that the schema `root` asks for, and collects the keys it does not know."""

    root: dict[str, Any]
    document: Document
    unknown: list[PlaybookError]

    def walk(self, node: dict[str, Any], value: Any, path: KeyPath) -> None:
        """Everything below VALUE, in place."""
        node = self._resolve(node)
        if isinstance(value, dict):
            known: dict[str, Any] = node.get("properties", {})
            rest = node.get("additionalProperties")
            for key, inner in value.items():
                if key in known:
                    value[key] = self._converted(known[key], inner)
                    self.walk(known[key], value[key], (*path, key))
                elif isinstance(rest, dict):
                    value[key] = self._converted(rest, inner)
                    self.walk(rest, value[key], (*path, key))
                elif known and rest is not True:
                    self.unknown.append(_unknown_key(self.document, (*path, key), list(known)))
        elif isinstance(value, list) and isinstance(node.get("items"), dict):
            for index, inner in enumerate(value):
                value[index] = self._converted(node["items"], inner)
                self.walk(node["items"], value[index], (*path, index))

    def _resolve(self, node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            node = self.root["$defs"][node["$ref"].rsplit("/", 1)[1]]
        return node

    def _converted(self, node: dict[str, Any], value: Any) -> Any:
        kind = self._resolve(node).get("type")
        if kind == "boolean" and isinstance(value, str):
            return BOOLEAN_WORDS.get(value.lower(), value)
        if kind in ("integer", "number") and isinstance(value, str):
            number = number_of(value.strip())
            value = value if number is None else number
        if kind == "integer" and isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            return int(value)
        return value


def _unknown_key(document: Document, path: KeyPath, known: list[str]) -> PlaybookError:
    match = close_match(str(path[-1]), known)
    advice = f"did you mean `{match}`?" if match else f"known here: {one_line(', '.join(known), 160)}"
    return document.error(path, "unknown key", advice=advice)


def _fault(document: Document, error: jsonschema.ValidationError) -> PlaybookError:
    path: KeyPath = tuple(error.absolute_path)
    rule, value = str(error.validator), cast("Any", error.instance)
    node = cast("dict[str, Any]", error.schema)
    limit = node[rule]
    if rule == "required":
        missing = next(key for key in limit if error.message.startswith(repr(key)))
        match = close_match(missing, [key for key in value if key not in node["properties"]])
        advice = f"is `{match}` meant to be it?" if match else "add it"
        return document.error((*path, missing), "is missing", advice=advice)
    problem, advice = _sentence(rule, limit, value, node)
    return document.error(path, problem, found=shown_value(value), advice=advice)


def _sentence(rule: str, limit: Any, value: Any, node: dict[str, Any]) -> tuple[str, str]:
    """(problem, advice) for a broken rule of the schema."""
    note = node.get("description")
    if rule == "type":
        return _wrong_type([limit] if isinstance(limit, str) else limit, value)
    if rule == "enum":
        match = close_match(str(value), limit)
        return "is not an accepted word", f"did you mean `{match}`? accepted: {', '.join(limit)}" if match else (
            f"use one of {', '.join(limit)}"
        )
    if rule in ("minimum", "maximum"):
        side = "at least" if rule == "minimum" else "at most"
        low, high = node.get("minimum"), node.get("maximum")
        return f"must be {side} {limit}", (
            f"give a number from {low} to {high}" if high is not None else f"give a number of {low} or more"
        )
    if rule in ("minLength", "maxLength", "minItems", "maxItems"):
        side, advice = ("at least", "add some") if rule.startswith("min") else ("at most", "shorten it")
        unit = "character" if rule.endswith("Length") else "item"
        problem = f"must have {side} {limit} {unit}{'' if limit == 1 else 's'}, not {len(value)}"
        return problem, f"{advice}, or remove the key"
    if rule == "uniqueItems":
        return "lists the same item twice", "remove the repetition"
    if rule == "pattern":
        return f"does not match {limit.removesuffix(_NO_FINAL_NEWLINE)}", note or "write it in that form"
    return f"breaks the rule {rule} of the schema", note or "see playbook.schema.json"


def _wrong_type(expected: list[str], value: Any) -> tuple[str, str]:
    problem = f"must be {' or '.join(_TYPE_NAMES[name] for name in expected)}"
    if value is None:
        return problem, "give a value or remove the key"
    if "string" in expected and isinstance(value, (bool, int, float)):
        return problem, "put it in quotes"
    if "array" in expected and not isinstance(value, dict):
        return problem, "write it as `[...]` or with a dash before each item"
    return problem, f"write {' or '.join(_TYPE_NAMES[name] for name in expected)}"
