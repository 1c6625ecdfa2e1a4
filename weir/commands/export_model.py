"""`weir export-model`: turn an embedding model into ONNX, once."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

DEFAULT = "all-MiniLM-L6-v2"


@click.command(
    "export-model",
    epilog="""\b
    Examples:
      weir export-model                                   the default, in both precisions
      weir export-model models/my-bge-small               a folder that sentence-transformers saved
      weir export-model --precision fp32 intfloat/e5-small-v2
    """,
)
@click.argument("model", default=DEFAULT)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".weir/models"),
    show_default=True,
    help="Folder that gets NAME-PRECISION/ (SEMCACHE_EMBEDDER_MODELS_FOLDER).",
)
@click.option("--precision", "precisions", multiple=True, type=click.Choice(["int8", "fp32"]), help="Default: both.")
@click.option("--name", default="", help="Name of the model; default: the last part of MODEL, in lower case.")
def export_model(model: str, out: Path, precisions: tuple[str, ...], name: str) -> None:
    """Turn MODEL into ONNX, compare it with the original, and keep it if it is faithful.

    MODEL is a folder that sentence-transformers saved, or a name that it loads. Models of the BERT
    family (MiniLM, BGE, GTE, E5) are built exactly, in fp32 and int8, and need no PyTorch. Any other
    model is traced, in fp32, and needs sentence-transformers and onnx installed here.

    An export is kept if its vectors are near to those of sentence-transformers over texts of many
    lengths: cosine at least 0.9999 for fp32, 0.99 for int8. Those of all-MiniLM-L6-v2 are recorded;
    for others sentence-transformers must be installed. Exits with 1 if anything is refused.
    """
    # Imported here: the other commands do without the service's dependencies.
    from semcache.errors import ExportError  # noqa: PLC0415
    from semcache.export import sources  # noqa: PLC0415
    from semcache.export.model import SIMILARITY_MIN, export  # noqa: PLC0415

    called, refused = name or sources.name_of(model), False
    with tempfile.TemporaryDirectory(prefix="weir-model-") as scratch:
        try:
            folder = sources.resolve(model, Path(scratch))
        except ExportError as error:
            click.echo(f"{called}: {error}", err=True)
            sys.exit(1)
        for precision in precisions or SIMILARITY_MIN:
            try:
                kept = export(folder, out / f"{called}-{precision}", called, precision)
            except ExportError as error:
                click.echo(f"{called}-{precision}: {error}", err=True)
                refused = True
                continue
            click.echo(
                f"{out / f'{called}-{precision}'}: {kept.dimensions} dimensions, reads {kept.window_tokens} tokens "
                f"(what is longer is cut), cosine to the original {kept.similarity_mean:.4f} in the mean, "
                f"{kept.similarity_min:.4f} at least"
            )
    sys.exit(refused)
