"""The record of one attempt to refute, the append-only log of a run, and the schema of both."""
