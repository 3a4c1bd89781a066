"""Bytes to tensors and back: SafeTensors, GGUF and APR v2 readers and writers, block codecs, canonical names.

Everything here reads hostile files: each count is bounded by the bytes that remain, and each refusal is one typed line.
"""
