"""Playbooks: what a model must survive. Read from hardened YAML, validated, expanded to scenarios."""
