"""Score, grade, status and falsification report: pure functions of evidence."""
