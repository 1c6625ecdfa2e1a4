"""Turning a sentence-transformers model into ONNX, once, before it serves."""
