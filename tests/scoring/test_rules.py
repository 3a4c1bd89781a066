"""The rules are data: the file is complete, its version is written down, and other copies of a number agree."""

import hashlib
import json

from pytest_aprqa.playbooks.tiers import tiers
from pytest_aprqa.scoring.rules import RULES_FILE, rules
from pytest_aprqa.scoring.score import RULES_VERSION, score
from tests.scoring.entries import complete_run

# Raise `version` in rules.json with every change of a rule, say in `history` what changed, then write the digest here.
DIGESTS = {"4": "b1cf20a35ba4a983"}


def test_a_changed_rule_needs_a_new_version():
    parts = {name: part for name, part in rules().items() if name != "history"}
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    assert DIGESTS.get(rules()["version"]) == digest


def test_every_version_is_in_the_history():
    assert list(rules()["history"]) == [str(n) for n in range(1, int(rules()["version"]) + 1)]


def test_the_version_is_written_into_the_score():
    assert score(complete_run(), model_id="m").to_dict()["rules_version"] == RULES_VERSION == rules()["version"]


def test_each_group_of_rules_gives_its_reason():
    plain = ("history", "tier_thresholds")
    groups = [part for name, part in rules().items() if isinstance(part, dict) and name not in plain]
    assert groups
    assert all(part["reason"] for part in groups)


def test_tiers_use_the_thresholds_of_the_rules():
    assert {tier.name: tier.threshold for tier in tiers()} == rules()["tier_thresholds"]


def test_a_number_of_the_file_is_the_number_that_is_used(tmp_path):
    """A copy of the package's scoring rules with another penalty gives another score."""
    import subprocess
    import sys

    changed = json.loads(RULES_FILE.read_text(encoding="utf-8"))
    changed["status"]["certified_from"] = 1001
    other = tmp_path / "rules.json"
    other.write_text(json.dumps(changed), encoding="utf-8")
    program = (
        "import pathlib, sys; import pytest_aprqa.scoring.rules as r; r.RULES_FILE = pathlib.Path(sys.argv[1]);"
        "from pytest_aprqa.scoring.status import status_of;"
        "print(status_of(1000, gateways_passed=True, complete=True))"
    )
    for path, status in ((RULES_FILE, "CERTIFIED"), (other, "PROVISIONAL")):
        done = subprocess.run(
            [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stdout.strip() == status
