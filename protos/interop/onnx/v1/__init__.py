"""The parts of ONNX's schema that an export writes."""
