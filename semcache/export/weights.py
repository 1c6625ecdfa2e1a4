"""Weights of a model folder: safetensors, read without any framework."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from semcache.errors import ExportError

Array = npt.NDArray[np.float32]

_DTYPES: Mapping[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "F64": np.dtype("<f8")}


def read_safetensors(path: Path) -> Mapping[str, Array]:
    """Return every floating-point tensor of the file as float32; others (position ids) are left out.

    Raises:
        ExportError: the file is cut, or no safetensors file.
    """
    data = path.read_bytes()
    try:
        (size,) = struct.unpack_from("<Q", data)
        # A length beyond the file gives a cut header, which is no JSON.
        header: Mapping[str, dict[str, Any]] = json.loads(data[8 : 8 + size])
        header = {name: entry for name, entry in header.items() if entry.get("dtype") in _DTYPES}
        return {name: _tensor(data, 8 + size, entry) for name, entry in header.items()}
    except (ValueError, LookupError, AttributeError, TypeError, struct.error) as error:
        raise ExportError(f"{path} is not a safetensors file: {error}") from error


def _tensor(data: bytes, base: int, entry: Mapping[str, Any]) -> Array:
    start, end = entry["data_offsets"]
    flat: npt.NDArray[np.generic] = np.frombuffer(data[base + start : base + end], dtype=_DTYPES[entry["dtype"]])
    return flat.reshape(entry["shape"]).astype(np.float32)
