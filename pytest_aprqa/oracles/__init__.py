"""Is this output acceptable: pure functions of prompt and output, each with a verdict and a reason."""
