"""BERT as a graph that ONNX Runtime runs: from the weights alone, without a deep-learning framework.

    ids, mask ─▶ embeddings ─▶ layer × n ─▶ token_embeddings ─▶ pooling ─▶ normalise ─▶ embedding

1. The graph is what sentence-transformers computes for `BertModel` + Pooling (mean or first token) + Normalize;
   an export is compared with it, or with its recorded vectors, before it is kept.
2. Token types are always 0, so their row is added to the positions.
3. Queries, keys and values are one multiplication; attention and GELU are ONNX Runtime's own fused operators.
4. int8: weights have 8 bits and one scale per output channel. Activations are scaled per token when it runs, not
   per batch as ONNX Runtime's own dynamic quantisation does: so a vector does not depend on the texts that share its
   batch, and is nearer to fp32 (mean cosine .997 against .994 over 160 questions, at equal speed).
5. What GELU gives is never below -0.17: it is shifted to use all 256 levels, and the shift is taken out in the bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from semcache.errors import ExportError
from semcache.export.graph import CONTRIB, Graph
from semcache.export.weights import Array

# A little below the least value of GELU, -0.16997.
_GELU_MIN = -0.17
_MASKED = -10_000.0


@dataclass(frozen=True, slots=True)
class Shape:
    """What `config.json` and the pooling say of a model."""

    layers: int
    heads: int
    width: int
    positions: int
    norm_epsilon: float
    pooling: str
    """`mean` or `cls`."""


class NotBuiltHereError(ExportError):
    """A model that is no plain BERT: it may be traced instead."""


def read_shape(config: Mapping[str, object], pooling: Mapping[str, object]) -> Shape:
    """Read a model's own description.

    Raises:
        NotBuiltHereError: it is no BERT, or pooled in a way that is not built here.
    """
    if config.get("architectures") != ["BertModel"] or config.get("hidden_act") != "gelu":
        raise NotBuiltHereError("it is no plain BertModel with gelu")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise NotBuiltHereError("its positions are not absolute")
    # Versions of sentence-transformers before 5.2 write a flag for each way, later ones the ways' names.
    flags = [key.removeprefix("pooling_mode_").split("_", 1)[0] for key, value in pooling.items() if value is True]
    named = pooling.get("pooling_mode", [flag for flag in flags if flag != "include"])
    ways = [named] if isinstance(named, str) else named
    if ways not in (["mean"], ["cls"]):
        raise NotBuiltHereError(f"its pooling is {ways}, not the mean or the first token")
    return Shape(
        layers=int(str(config["num_hidden_layers"])),
        heads=int(str(config["num_attention_heads"])),
        width=int(str(config["hidden_size"])),
        positions=int(str(config["max_position_embeddings"])),
        norm_epsilon=float(str(config["layer_norm_eps"])),
        pooling=str(ways[0]),
    )


class BertGraph:
    """Builds one file."""

    def __init__(self, shape: Shape, weights: Mapping[str, Array], precision: str) -> None:
        self._shape = shape
        self._weights = {name.removeprefix("bert."): array for name, array in weights.items()}
        self._is_int8 = precision == "int8"
        self._graph = Graph("sentence")

    def build(self) -> bytes:
        """Return the model file.

        Raises:
            ExportError: a weight is missing.
        """
        graph = self._graph
        ids, mask = (
            graph.take("input_ids", "int64", "batch", "tokens"),
            graph.take("attention_mask", "int64", "batch", "tokens"),
        )
        try:
            x = self._embed(ids)
            shown = graph.node("Cast", [mask], to=6)
            for index in range(self._shape.layers):
                x = self._layer(x, shown, f"encoder.layer.{index}")
        except KeyError as error:
            raise ExportError(f"the model has no weight {error}") from error
        tokens = graph.node("Identity", [x], ["token_embeddings"])
        self._pool(tokens, mask)
        graph.give("embedding", "batch", str(self._shape.width))
        graph.give("token_embeddings", "batch", "tokens", str(self._shape.width))
        return graph.to_bytes()

    def _embed(self, ids: str) -> str:
        graph, weights = self._graph, self._weights
        words = self._rows(ids, "embeddings.word_embeddings.weight")
        places = (
            weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
        )
        length = graph.node("Gather", [graph.node("Shape", [ids]), self._int("one", 1)], axis=0)
        table = graph.constant("positions", places.astype(np.float32))
        ends = graph.node("Unsqueeze", [length, self._ints("axis0", 0)])
        used = graph.node("Slice", [table, self._ints("start", 0), ends, self._ints("axis0b", 0)])
        return self._norm(graph.node("Add", [words, used]), "embeddings.LayerNorm")

    def _rows(self, ids: str, name: str) -> str:
        table, graph = self._weights[name], self._graph
        if not self._is_int8:
            return graph.node("Gather", [graph.constant(name, table), ids], axis=0)
        scales = _scales(table)
        rows = graph.constant(name, np.rint(table / scales).astype(np.int8))
        taken = graph.node("Cast", [graph.node("Gather", [rows, ids], axis=0)], to=1)
        return graph.node("Mul", [taken, graph.node("Gather", [graph.constant(f"{name}_scales", scales), ids], axis=0)])

    def _layer(self, x: str, shown: str, name: str) -> str:
        graph, own, width = self._graph, f"{name}.attention.self", self._shape.width
        parts = [f"{own}.{part}" for part in ("query", "key", "value")]
        mixed = self._multiply(x, np.concatenate([self._weights[f"{part}.weight"] for part in parts]), own)
        bias = graph.constant(f"{own}.bias", np.concatenate([self._weights[f"{part}.bias"] for part in parts]))
        outputs = [f"{own}.{letter}" for letter in "qkv"]
        graph.node("Split", [mixed, self._ints(f"{own}.parts", width, width, width)], outputs, axis=2)
        heads = self._shape.heads
        seen = graph.node(
            f"{CONTRIB}:MultiHeadAttention", [*outputs, bias, shown], num_heads=heads, mask_filter_value=_MASKED
        )
        x = self._add_norm(x, seen, f"{name}.attention.output")
        inner = f"{name}.intermediate.dense"
        grown = self._multiply(x, self._weights[f"{inner}.weight"], inner)
        grown = graph.node(
            f"{CONTRIB}:BiasGelu", [grown, graph.constant(f"{inner}.bias", self._weights[f"{inner}.bias"])]
        )
        return self._add_norm(x, grown, f"{name}.output", least=_GELU_MIN)

    def _add_norm(self, x: str, y: str, name: str, least: float | None = None) -> str:
        """Multiply `y`, add it to `x` and normalise."""
        graph, weights = self._graph, self._weights
        weight, bias = weights[f"{name}.dense.weight"], weights[f"{name}.dense.bias"]
        product = self._multiply(y, weight, f"{name}.dense", least)
        if self._is_int8 and least is not None:
            bias = bias + least * _quantise(weight).sum(axis=1)
        # Not SkipLayerNormalization, which does the same in one and takes three times as long (ONNX Runtime 1.32).
        added = graph.node("Add", [product, graph.constant(f"{name}.dense.bias", bias.astype(np.float32))])
        return self._norm(graph.node("Add", [x, added]), f"{name}.LayerNorm")

    def _multiply(self, x: str, weight: Array, name: str, least: float | None = None) -> str:
        """Multiply without the bias; `least` is the smallest value that `x` can have, where that is known."""
        graph = self._graph
        if not self._is_int8:
            return graph.node("MatMul", [x, graph.constant(f"{name}.weight", np.ascontiguousarray(weight.T))])
        if least is None:
            top, zero, levels = graph.node("ReduceMax", [graph.node("Abs", [x])], axes=[-1]), 128, 127
        else:
            x = graph.node("Sub", [x, self._float(least)])
            top, zero, levels = graph.node("ReduceMax", [x], axes=[-1]), 0, 255
        scales = _scales(weight)
        packed = graph.constant(f"{name}.weight", np.ascontiguousarray(np.rint(weight / scales).T).astype(np.int8))
        step, middle = self._float(1 / levels), graph.constant(f"{name}.zero", np.array(zero, np.uint8))
        rows = graph.node("QuantizeLinear", [graph.node("Div", [x, top]), step, middle])
        inputs = [rows, packed, step, graph.constant(f"{name}.scales", scales.reshape(-1)), middle]
        return graph.node("Mul", [graph.node(f"{CONTRIB}:MatMulIntegerToFloat", inputs), top])

    def _norm(self, x: str, name: str) -> str:
        graph = self._graph
        scale = graph.constant(f"{name}.weight", self._weights[f"{name}.weight"])
        shift = graph.constant(f"{name}.bias", self._weights[f"{name}.bias"])
        return graph.node("LayerNormalization", [x, scale, shift], axis=-1, epsilon=self._shape.norm_epsilon)

    def _pool(self, tokens: str, mask: str) -> None:
        graph = self._graph
        if self._shape.pooling == "cls":
            pooled = graph.node("Gather", [tokens, self._int("first", 0)], axis=1)
        else:
            counted = graph.node("Unsqueeze", [graph.node("Cast", [mask], to=1), self._ints("axis2", 2)])
            # Over a mean the count does not matter: it is normalised away.
            pooled = graph.node("ReduceSum", [graph.node("Mul", [tokens, counted]), self._ints("axis1", 1)], keepdims=0)
        graph.node("LpNormalization", [pooled], ["embedding"], axis=-1, p=2)

    def _float(self, value: float) -> str:
        return self._graph.constant(f"float_{value}", np.array(value, np.float32))

    def _int(self, name: str, value: int) -> str:
        return self._graph.constant(name, np.array(value, np.int64))

    def _ints(self, name: str, *values: int) -> str:
        return self._graph.constant(name, np.array(values, np.int64))


def _scales(weight: Array) -> Array:
    """Return the size of one step of each output channel."""
    scales = np.abs(weight).max(axis=1, keepdims=True) / np.float32(127)
    return np.where(scales == 0, np.float32(1), scales)


def _quantise(weight: Array) -> Array:
    """Return the weights as the 8-bit ones stand for."""
    scales = _scales(weight)
    return np.asarray(np.rint(weight / scales) * scales, dtype=np.float32)
