"""How two models are compared: tensors, logits, greedy answers, hidden states, and the limits with their sources."""
