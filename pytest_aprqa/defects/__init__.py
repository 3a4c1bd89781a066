"""Real-world model defects as small operations on copies of artifacts: what proves that the gates can fail."""
