"""Family, parameters and size of a model that nobody has told: from the fact tables, else from its name."""

from __future__ import annotations


def known_facts(model_id: str) -> dict[str, str]:
    """`family`, `parameters`, `size_category` as columns of the registry; only what is known."""
    from pytest_aprqa.models.bundled import bundled_folder
    from pytest_aprqa.playbooks.facts import read_models
    from pytest_aprqa.playbooks.size_categories import billions_in_name, category_of

    facts = read_models(bundled_folder() / "playbooks" / "facts" / "models.csv").get(model_id)
    if facts is not None:
        return {"family": facts.family, "parameters": facts.parameters, "size_category": facts.size_category}
    billions = billions_in_name(model_id)
    if billions is None:
        return {}
    text = f"{billions:g}B" if billions >= 1 else f"{billions * 1000:g}M"
    return {"parameters": text, "size_category": category_of(billions)}


def tier_of_playbook(name: str) -> str | None:
    """The tier that the ending of a playbook's name stands for (`...-mvp`); None where it has none."""
    from pytest_aprqa.playbooks.repository_index import tier_word
    from pytest_aprqa.playbooks.tiers import parse_tier

    try:
        return parse_tier(tier_word(name)).name
    except ValueError:
        return None
