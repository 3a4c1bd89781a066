"""`--falsify` and `--falsify-invariants`: defects, faults and clean models by which the gates are proven."""
