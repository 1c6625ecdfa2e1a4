"""`python -m semcache.export SOURCE TARGET`: what `weir export-model` runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from semcache.errors import ExportError
from semcache.export import reference
from semcache.export.model import SIMILARITY_MIN, export, read_source


def main(arguments: Sequence[str]) -> int:
    """Export a model in every precision asked for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="weir export-model", description="Turn a sentence-transformers model into ONNX."
    )
    parser.add_argument("source", type=Path, help="folder of the model, as sentence-transformers saves it")
    parser.add_argument("target", type=Path, help="folder that gets <name>-<precision>/")
    parser.add_argument("--name", default="", help="name of the model; default: its folder's")
    parser.add_argument("--precision", action="append", choices=SIMILARITY_MIN, help="default: all")
    parser.add_argument("--record", action="store_true", help="write the original's vectors down and export nothing")
    options = parser.parse_args(arguments)
    name = options.name or options.source.resolve().name
    try:
        if options.record:
            sys.stdout.write(f"{reference.record(options.source, read_source(options.source).revision)}\n")
            return 0
        for precision in options.precision or SIMILARITY_MIN:
            kept = export(options.source, options.target / f"{name}-{precision}", name, precision)
            sys.stdout.write(
                f"{name}-{precision}: {kept.dimensions} dimensions, {kept.window_tokens} tokens, cosine to the original "
                f"{kept.similarity_mean:.4f} in the mean, {kept.similarity_min:.4f} at least\n"
            )
    except ExportError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
