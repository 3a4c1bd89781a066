"""What a model is: where it lies, its configuration, family, tokenizer, chat template and provenance."""
