"""Embeddings of many texts by an exported model, computed once and kept."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]

TOKENS_MAX = 256


def onnx_embed(model_dir: Path) -> Embed:
    """Return the encoder of `model_dir` (`model.onnx`, `tokenizer.json`), one thread, one text at a time.

    One at a time because dynamic quantisation takes its range from the whole
    input: a text's vector then does not depend on its neighbours in a batch.
    """
    import onnxruntime  # noqa: PLC0415 - a stream of kept vectors needs no runtime
    from tokenizers import Tokenizer  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model_dir / "model.onnx"), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS_MAX)
    wanted = {node.name for node in session.get_inputs()}

    def embed_one(text: str) -> Vectors:
        encoding = tokenizer.encode(text)
        inputs = {
            "input_ids": np.array([encoding.ids], np.int64),
            "attention_mask": np.array([encoding.attention_mask], np.int64),
            "token_type_ids": np.array([encoding.type_ids], np.int64),
        }
        output = session.run(None, {name: value for name, value in inputs.items() if name in wanted})[0][0]
        pooled = output.mean(axis=0) if output.ndim == 2 else output  # token vectors, or pooled already
        unit: Vectors = (pooled / np.linalg.norm(pooled)).astype(np.float32)
        return unit

    return lambda texts: np.stack([embed_one(text) for text in texts])


def kept_embed(model_dir: Path, cache_dir: Path) -> Embed:
    """Return the encoder of `model_dir`, with its vectors kept in `cache_dir` by model and texts."""
    model = hashlib.sha256((model_dir / "model.onnx").read_bytes()).hexdigest()

    def embed(texts: Sequence[str]) -> Vectors:
        name = hashlib.sha256(json.dumps([model, TOKENS_MAX, *texts]).encode()).hexdigest()[:24]
        path = cache_dir / f"{name}.npy"
        if not path.exists():
            cache_dir.mkdir(parents=True, exist_ok=True)
            np.save(path, onnx_embed(model_dir)(texts))
        vectors: Vectors = np.load(path)
        return vectors

    return embed
