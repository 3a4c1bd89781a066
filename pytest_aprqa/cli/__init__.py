"""The command line, `aprqa` (also installed as `apr-qa`): one file per command, no domain logic."""
