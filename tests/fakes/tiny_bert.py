"""A BERT of 40 kB with weights from a fixed seed, in a folder as sentence-transformers saves one.

What sentence-transformers makes of it is recorded in tests/data, by `python -m tests.fakes.tiny_bert` where that is
installed.
"""

from __future__ import annotations

import json
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from semcache.export import reference
from semcache.export.model import revision_of

RECORDED = Path(__file__).parents[1] / "data" / "tiny_bert"
WIDTH, INNER, LAYERS, POSITIONS, WINDOW = 32, 64, 2, 40, 24
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(word for text in reference.TEXTS for word in text.split())]


def write(folder: Path, pooling: str = "mean") -> Path:
    """Write a model that pools by the mean or the first token."""
    (folder / "1_Pooling").mkdir(parents=True)
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(WORDS))}
    _tokenizer(vocabulary).save(str(folder / "tokenizer.json"))
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": POSITIONS,
        "num_attention_heads": 4,
        "num_hidden_layers": LAYERS,
        "type_vocab_size": 2,
        "vocab_size": len(vocabulary),
    }
    kinds = [("", "models.Transformer"), ("1_Pooling", "models.Pooling")]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.{kind}"}
        for number, (path, kind) in enumerate(kinds)
    ]
    flags = {"pooling_mode_cls_token": pooling == "cls", "pooling_mode_mean_tokens": pooling == "mean"}
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    for path, value in {
        "config.json": config,
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": WINDOW, "do_lower_case": False},
        "1_Pooling/config.json": {"word_embedding_dimension": WIDTH, **flags},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", **special},
    }.items():
        (folder / path).write_text(json.dumps(value))
    write_safetensors(folder / "model.safetensors", weights(len(vocabulary)))
    return folder


def weights(words: int) -> dict[str, npt.NDArray[np.float32]]:
    dice = np.random.Generator(np.random.PCG64(7))
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (words, WIDTH),
        "embeddings.position_embeddings.weight": (POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        "embeddings.LayerNorm.weight": (WIDTH,),
        "embeddings.LayerNorm.bias": (WIDTH,),
    }
    for layer in range(LAYERS):
        parts = {f"attention.self.{part}": (WIDTH, WIDTH) for part in ("query", "key", "value")}
        parts |= {"attention.output.dense": (WIDTH, WIDTH), "intermediate.dense": (INNER, WIDTH)}
        parts |= {"output.dense": (WIDTH, INNER)}
        for part, shape in parts.items():
            shapes[f"encoder.layer.{layer}.{part}.weight"] = shape
            shapes[f"encoder.layer.{layer}.{part}.bias"] = shape[:1]
        for part in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"encoder.layer.{layer}.{part}.weight"] = (WIDTH,)
            shapes[f"encoder.layer.{layer}.{part}.bias"] = (WIDTH,)
    # Sums of uniform numbers: their stream is the same in every version of NumPy.
    arrays = {name: (dice.random(shape) - 0.5).astype(np.float32) for name, shape in shapes.items()}
    # Near to what a trained one has: with large biases all texts would have one vector.
    biases = {name: array * np.float32(0.1) for name, array in arrays.items() if name.endswith("bias")}
    norms = {name: array + np.float32(1) for name, array in arrays.items() if name.endswith("LayerNorm.weight")}
    return arrays | biases | norms


def write_safetensors(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:
    header, body = dict[str, object](), b""
    kinds = {"float32": "F32", "float16": "F16", "int64": "I64"}
    for name, array in arrays.items():
        data = array.tobytes()
        place = [len(body), len(body) + len(data)]
        header[name] = {"dtype": kinds[array.dtype.name], "shape": list(array.shape), "data_offsets": place}
        body += data
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def _tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()  # type: ignore[assignment] # its stubs know no setter
    tokenizer.post_processor = TemplateProcessing(  # type: ignore[assignment] # as above
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


if __name__ == "__main__":
    reference.RECORDED = RECORDED
    with tempfile.TemporaryDirectory() as scratch:
        for way in ("mean", "cls"):
            folder = write(Path(scratch) / way, way)
            made = reference.record(folder, revision_of(folder))
            sys.stdout.write(f"{made.rename(made.with_name(f'{way}.json'))}\n")
