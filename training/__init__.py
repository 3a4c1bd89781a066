"""How the bundled model `models/tiny-qwen2` was made: corpus, tokenizer, training, evaluation.

Not part of the installed package. `python -m training.train` repeats the whole process with fixed seeds.
"""
