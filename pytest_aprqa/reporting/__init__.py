"""Reports of a run: terminal, JUnit, Markdown and the JSON files. Pure functions of evidence and score."""
