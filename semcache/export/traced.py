"""Any other model that sentence-transformers loads, as a graph: traced by PyTorch from the running model, fp32.

    SentenceTransformer ── its modules, in order, as one forward ──▶ torch.onnx.export ──▶ graph ──▶ compared as all are

1. It needs sentence-transformers, and onnx beside it, on the machine that exports; what serves the export does not.
2. Only fp32: quantisation of a traced graph scales activations over the whole batch, and a text's vector would depend
   on the texts beside it.
3. A trace can be wrong without an error where a model looks at the length of its input, so batch and length are free
   dimensions, the example is of neither's usual size, and the comparison goes over many lengths.
"""

from __future__ import annotations

import importlib
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semcache.errors import ExportError
from semcache.export.reference import load_original

_OPSET = 17
_EXAMPLE = ["a question of some length", "another"]


@dataclass(frozen=True, slots=True)
class Traced:
    """What a trace gave."""

    graph: bytes
    tokenizer: bytes
    window_tokens: int


def trace(
    folder: Path,
) -> Traced:  # pragma: no cover - needs PyTorch; what it gives is held to the original, as every export
    """Trace the model in a folder.

    Raises:
        ExportError: it cannot be loaded or traced, or has no fast tokenizer.
    """
    model = load_original(str(folder)).eval()
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", None)
    window = model.max_seq_length
    if tokenizer is None or not window:
        raise ExportError("its tokenizer is none of the tokenizers library, or its window is not said")
    try:
        graph = _to_graph(model)
    except Exception as error:  # whatever a foreign model raises in there, it is no export
        raise ExportError(f"PyTorch cannot trace it: {type(error).__name__}: {str(error).splitlines()[0]}") from error
    return Traced(graph, tokenizer.to_str().encode(), int(window))


def _to_graph(model: Any) -> bytes:  # noqa: ANN401 - a class of a package that need not be there  # pragma: no cover - as above
    torch = importlib.import_module("torch")

    class Whole(torch.nn.Module):  # type: ignore[misc, name-defined] # torch need not be there
        """All modules of the model as one function of two tensors."""

        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ModuleList(list(model))

        def forward(self, input_ids: Any, attention_mask: Any) -> tuple[Any, Any]:  # noqa: ANN401 - tensors
            features: Mapping[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
            for part in self.parts:
                features = part(dict(features))
            embedding = torch.nn.functional.normalize(features["sentence_embedding"], p=2, dim=1)
            return embedding, features["token_embeddings"]

    encoded = model.tokenizer(_EXAMPLE, padding=True, return_tensors="pt")
    free = {0: "batch", 1: "tokens"}
    with tempfile.TemporaryDirectory(prefix="weir-trace-") as scratch, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        path = Path(scratch) / "model.onnx"
        torch.onnx.export(
            Whole().eval(),
            (encoded["input_ids"], encoded["attention_mask"]),
            str(path),
            input_names=["input_ids", "attention_mask"],
            output_names=["embedding", "token_embeddings"],
            dynamic_axes={
                "input_ids": free,
                "attention_mask": free,
                "embedding": {0: "batch"},
                "token_embeddings": free,
            },
            opset_version=_OPSET,
            dynamo=False,
        )
        return path.read_bytes()
