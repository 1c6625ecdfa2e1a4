"""Written for wire compatibility with ONNX."""
