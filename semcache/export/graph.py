"""A computation under construction: nodes and constants of an ONNX file, each named once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from protos.interop.onnx.v1 import onnx_pb2 as onnx

OPSET = 17
# IR version 8 came with opset 17's generation: every ONNX Runtime since 1.14 reads both.
IR_VERSION = 8
CONTRIB = "com.microsoft"
_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7}


class Graph:
    """Adds nodes in the order they are asked for; returns the names of what they compute."""

    def __init__(self, name: str) -> None:
        self._graph = onnx.GraphProto(name=name)
        self._constants: set[str] = set()

    def take(self, name: str, kind: str, *shape: str) -> str:
        """Declare an input with named dimensions."""
        self._graph.input.append(_value(name, kind, shape))
        return name

    def give(self, name: str, *shape: str) -> None:
        """Declare a float output."""
        self._graph.output.append(_value(name, "float32", shape))

    def constant(self, name: str, array: npt.NDArray[np.generic]) -> str:
        """Add a constant, or find the one that has this name."""
        if name in self._constants:
            return name
        self._constants.add(name)
        self._graph.initializer.append(
            onnx.TensorProto(
                name=name,
                dims=array.shape,
                data_type=_TYPES[array.dtype.name],
                raw_data=np.ascontiguousarray(array).tobytes(),
            )
        )
        return name

    def node(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str] = (), **attributes: float | Sequence[int]
    ) -> str:
        """Add a node and return the name of its first output.

        `op` may carry its domain: `com.microsoft:MatMulNBits`.
        """
        domain, _, kind = op.rpartition(":")
        name = f"{kind}_{len(self._graph.node)}"
        node = onnx.NodeProto(name=name, op_type=kind, domain=domain, input=inputs, output=outputs or [f"{name}_out"])
        node.attribute.extend(_attribute(key, value) for key, value in attributes.items())
        self._graph.node.append(node)
        return node.output[0]

    def to_bytes(self) -> bytes:
        """Return the file."""
        opsets = [onnx.OperatorSetIdProto(version=OPSET), onnx.OperatorSetIdProto(domain=CONTRIB, version=1)]
        model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="weir", graph=self._graph, opset_import=opsets)
        return model.SerializeToString(deterministic=True)


def _value(name: str, kind: str, shape: Sequence[str]) -> onnx.ValueInfoProto:
    dims = [
        onnx.TensorShapeProto.Dimension(dim_value=int(part))
        if part.isdigit()
        else onnx.TensorShapeProto.Dimension(dim_param=part)
        for part in shape
    ]
    tensor = onnx.TypeProto.Tensor(elem_type=_TYPES[kind], shape=onnx.TensorShapeProto(dim=dims))
    return onnx.ValueInfoProto(name=name, type=onnx.TypeProto(tensor_type=tensor))


def _attribute(name: str, value: float | Sequence[int]) -> onnx.AttributeProto:
    kinds = onnx.AttributeProto
    match value:
        case int():
            return onnx.AttributeProto(name=name, i=value, type=kinds.INT)
        case float():
            return onnx.AttributeProto(name=name, f=value, type=kinds.FLOAT)
        case _:
            return onnx.AttributeProto(name=name, ints=value, type=kinds.INTS)
