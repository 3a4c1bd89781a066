"""The checks: ordinary pytest test functions with gate marks, one file per subject. Each tries to refute."""
