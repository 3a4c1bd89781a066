"""The configured blocks that no typed field of a Playbook holds, completed with their documented defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_aprqa.playbooks.document import Document
from pytest_aprqa.playbooks.playbook import BACKENDS, Playbook

# Defaults of each sub-block of `differential_tests`.
DIFFERENTIAL_DEFAULTS: dict[str, dict[str, Any]] = {
    "format_validation": {"checks": ["dtype_mapping", "tensor_alignment", "header_integrity"]},
    "tensor_diff": {},
    "inference_compare": {"max_tokens": 10, "tolerance": 1e-5},
    "fingerprint": {"tensors": "all", "stats": ["mean", "std", "min", "max", "checksum"]},
    "validate_stats": {"tolerance": {"layernorm": 0.001, "embedding": 0.1, "attention": 0.01}},
}
PROFILE_DEFAULTS: dict[str, Any] = {
    "enabled": False,
    "warmup": 3,
    "measure": 10,
    "formats": ["gguf", "apr", "safetensors"],
    "backends": list(BACKENDS),
    "assertions": {},
    "baseline": "",
    "gates": [],
}
OLLAMA_DEFAULTS: dict[str, Any] = {
    "quantizations": ["q4_k_m"],
    "prompts": ["What is 2+2?"],
    "temperature": 0.0,
    "min_perf_ratio": 0.8,
    "gates": [],
}
# Blocks that the suite runs, and the gates that it files them under. Their checks carry the mark `block`.
RUN_BLOCKS: dict[str, tuple[str, ...]] = {
    "differential_tests.format_validation": ("F-APR-FORMAT-001", "F-APR-FORMAT-002", "F-APR-FORMAT-003"),
    "differential_tests.tensor_diff": ("F-ROSETTA-DIFF-001", "F-ROSETTA-DIFF-002"),
    "differential_tests.inference_compare": ("F-ROSETTA-INF-001", "F-ROSETTA-INF-002", "F-ROSETTA-INF-003"),
    "differential_tests.fingerprint": ("F-ROSETTA-FP-001", "F-ROSETTA-FP-002", "F-ROSETTA-FP-003"),
    "differential_tests.validate_stats": tuple(f"F-ROSETTA-STATS-{n:03}" for n in range(1, 7)),
    "ollama_parity": ("F-OLLAMA-PULL-001", *(f"F-OLLAMA-{n:03}" for n in range(1, 6))),
    "property_tests": ("F-PROP-001",),
    "falsification_gates": tuple(f"F-FALSIFICATION-{n:03}" for n in range(1, 4)),
    "hf_parity": ("F-HF-PARITY-001", "F-HF-PARITY-004", "F-HFP-002"),
    "trace_payload": ("F-TRACE-PAYLOAD-001", "F-TRACE-PAYLOAD-002", "F-TRACE-PAYLOAD-003", "F-TRACE-DIFF-001"),
}
# Blocks without an `enabled` switch: there and not empty means configured.
LIST_BLOCKS = (
    "falsification_gates", "verification_tests", "verification_gates", "regression_tests", "reproduction", "expected",
    "acceptance", "tools_required",
)  # fmt: skip
# Gates of `profile_ci` that the suite files.
PROFILE_GATES = (
    "F-PERF-001", "F-PERF-005", "F-PROFILE-CI-002", "F-PROFILE-CI-003", "F-PROFILE-DIFF-001", "F-PROFILE-DIFF-002",
)  # fmt: skip


def profile_with_defaults(profile: dict[str, Any]) -> dict[str, Any]:
    """`profile_ci` with every field; without `enabled: true` it is off."""
    return PROFILE_DEFAULTS | profile


def configured_blocks(document: Document) -> dict[str, Any]:
    """Blocks that ask for something to be run, by key path; those that are switched off or empty are left out."""
    data = document.data
    blocks: dict[str, Any] = {name: data[name] for name in LIST_BLOCKS if data.get(name)}
    properties = data.get("property_tests")
    if isinstance(properties, list) and properties:
        blocks["property_tests"] = [{"count": 100} | entry for entry in properties]
    elif isinstance(properties, dict) and properties.get("enabled"):
        blocks["property_tests"] = {"cases": 100, "max_shrink_iters": 1000} | properties
    for name, block in data.get("differential_tests", {}).items():
        if name in DIFFERENTIAL_DEFAULTS and block.get("enabled"):
            blocks[f"differential_tests.{name}"] = _completed(DIFFERENTIAL_DEFAULTS[name] | {"gates": []}, block)
    if data.get("trace_payload", {}).get("enabled"):
        blocks["trace_payload"] = {"gates": []} | data["trace_payload"]
    if data.get("hf_parity", {}).get("enabled"):
        blocks["hf_parity"] = {"gates": []} | data["hf_parity"]
    if data.get("ollama_parity", {}).get("enabled"):
        name = data["model"]["hf_repo"].partition("/")[2]
        blocks["ollama_parity"] = OLLAMA_DEFAULTS | {"model_tag": f"{name}:latest"} | data["ollama_parity"]
    machine = data.get("state_machine")
    if machine:
        _check_targets(document, machine)
        if machine.get("enabled", True):
            blocks["state_machine"] = machine
    return blocks


def _completed(defaults: dict[str, Any], block: dict[str, Any]) -> dict[str, Any]:
    """BLOCK over DEFAULTS, mappings completed too: a tolerance that is not given keeps its default."""
    merged = defaults | block
    for name, value in defaults.items():
        if isinstance(value, dict) and isinstance(block.get(name), dict):
            merged[name] = value | block[name]
    return merged


def _check_targets(document: Document, machine: dict[str, Any]) -> None:
    """`initial` and every target must name a state."""
    states = machine.get("states", {})
    named: list[tuple[tuple[str | int, ...], str]] = []
    if "initial" in machine:
        named.append((("initial",), machine["initial"]))
    if isinstance(states, dict):
        for state, content in states.items():
            for index, transition in enumerate(content.get("transitions", ())):
                named.append((("states", state, "transitions", index, "target"), transition["target"]))
    for index, transition in enumerate(machine.get("transitions", ())):
        named.extend((("transitions", index, end), transition[end]) for end in ("from", "to"))
    for path, state in named:
        if state not in states:
            raise document.error(
                ("state_machine", *path),
                "is not the name of a state",
                found=f"'{state}'",
                advice=f"states here: {', '.join(states) or 'none'}",
            )


def is_configured(playbook: Playbook, path: str) -> bool:
    """True where the playbook asks for the block of that key path; below `profile_ci`, where the field is there."""
    first, *keys = path.split(".")
    if first != "profile_ci":
        return path in playbook.blocks
    value: Any = playbook.profile_ci
    if not value or not value.get("enabled"):
        return False
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value is not None and value != ""


def unrun_parts(playbook: Playbook) -> list[str]:
    """Configured blocks that the suite does not run, and gates listed in a block that no check of it files."""
    parts = []
    for name, block in sorted(playbook.blocks.items()):
        if name not in RUN_BLOCKS:
            parts.append(name)
            continue
        listed = block.get("gates", ()) if isinstance(block, Mapping) else ()
        gates = [str(gate.get("id", gate) if isinstance(gate, Mapping) else gate) for gate in listed]
        parts += [f"{name}: {gate}" for gate in gates if gate not in RUN_BLOCKS[name]]
    if playbook.model.size_variant is not None and not playbook.model.expected:
        parts.append("model.size_variant")  # of a family whose sizes are not in the table: no dimension is compared
    profile = playbook.profile_ci
    if profile is not None and profile.get("enabled"):
        listed = profile.get("gates", ())
        gates = [str(gate.get("id", gate) if isinstance(gate, Mapping) else gate) for gate in listed]
        parts += [f"profile_ci: {gate}" for gate in gates if gate not in PROFILE_GATES]
    return parts
