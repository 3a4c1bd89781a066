"""How a model is run: every engine lives in a child process and speaks one protocol."""
