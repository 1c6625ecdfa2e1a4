"""Implementations of the embedder."""

import os

# ONNX Runtime keeps a device id in the home folder and reports to its makers, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
