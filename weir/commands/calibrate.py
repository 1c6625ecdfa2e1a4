"""`weir calibrate`: what setting do these labelled pairs ask for?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from weir.calibration.labels import Pair
    from weir.calibration.study import Row, Study

_BATCH = 32


@click.command(
    epilog="""\b
    Examples:
      weir calibrate pairs.jsonl                      {"prompt": "…", "candidate": "…", "fits": 1}
      weir calibrate pairs.csv --target 0.02          the setting for a target error of 2 % of hits
      weir calibrate pairs.tsv --plot curve.html      the curve as a page
    """
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--target",
    type=click.FloatRange(0.001, 0.5),
    default=0.03,
    show_default=True,
    help="Share of hits that may be wrong.",
)
@click.option("--model", type=click.Path(path_type=Path), help="Folder of the exported model; default: the service's.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write the curve as HTML.")
def calibrate(file: Path, target: float, model: Path | None, plot: Path | None) -> None:
    """Fit the calibration to labelled pairs of FILE and say what each target error serves.

    FILE is .jsonl, .csv or .tsv with the columns `prompt`, `candidate`, `fits` (1: the candidate's answer fits the
    prompt) and, if known, `similarity`; without it the service's model computes it. Exits with 1 if nothing can be
    served at the target.
    """
    # Imported here: the other commands do without the service's dependencies.
    from semcache.verifier import fitted  # noqa: PLC0415
    from weir.calibration.labels import LabelsError, read  # noqa: PLC0415
    from weir.calibration.page import page  # noqa: PLC0415
    from weir.calibration.study import TARGETS, study  # noqa: PLC0415

    try:
        pairs = read(file)
    except LabelsError as error:
        raise click.ClickException(str(error)) from None
    found = study(pairs, _similarities(pairs, model), fitted.load(), sorted({*TARGETS, target}))
    chosen = next(row for row in found.rows if row.target == target)
    _tell(found, chosen)
    if plot and len(found.scores):
        plot.write_text(page(found, f"Calibration on {file.name}", chosen), encoding="utf-8")
        click.echo(f"curve: {plot}")
    if not chosen.served:
        sys.exit(1)


def _similarities(pairs: Sequence[Pair], folder: Path | None) -> list[float]:
    """Return the similarity of every pair, computed where the file does not give it."""
    known = [pair.similarity for pair in pairs]
    open_pairs = [pair for pair in pairs if pair.similarity is None]
    if not open_pairs:
        return [similarity for similarity in known if similarity is not None]
    from semcache.embedder import Embedded  # noqa: PLC0415
    from semcache.embedders import model_folder  # noqa: PLC0415
    from semcache.embedders.onnx import OnnxModel  # noqa: PLC0415
    from semcache.errors import SemcacheError  # noqa: PLC0415

    try:
        description, graph, tokenizer = model_folder.read(folder or _default_model())
    except SemcacheError as error:
        raise click.ClickException(str(error)) from None
    model = OnnxModel(graph, tokenizer, description.window_tokens)
    computed: list[float] = []
    for start in range(0, len(open_pairs), _BATCH):
        batch = open_pairs[start : start + _BATCH]
        sides = [[pair.prompt for pair in batch], [pair.candidate for pair in batch]]
        # As the service compares them: what the model does not read whole is near nothing.
        a, b = (Embedded(*model.embed(texts), description.window_tokens).comparable for texts in sides)
        computed.extend((a * b).sum(axis=1).tolist())
    rest = iter(computed)
    return [next(rest) if similarity is None else similarity for similarity in known]


def _default_model() -> Path:
    from semcache.export.default import NAME, ensure  # noqa: PLC0415
    from semcache.settings import EmbedderSettings  # noqa: PLC0415

    settings = EmbedderSettings()
    return Path(settings.model or ensure(Path(settings.models_folder)) / f"{NAME}-{settings.precision}")


def _tell(found: Study, chosen: Row) -> None:
    console = Console()
    console.print(f"{found.pairs} pairs, {found.right} right; before any score {found.refused_wrong.total()} wrong and "
                  f"{found.refused_right.total()} right ones are refused")  # fmt: skip
    for guard in sorted(found.refused_right + found.refused_wrong):
        console.print(f"  {guard}: {found.refused_wrong[guard]} wrong, {found.refused_right[guard]} right")
    console.print(_table(found.rows))
    console.print(_recommendation(found, chosen))


def _table(rows: Sequence[Row]) -> Table:
    table = Table("target error", "least confidence", "90 % interval", "served", "wrong of them", "90 % interval")
    for row in rows:
        if row.served:
            table.add_row(
                f"{row.target:.1%}",
                f"{row.confidence:.3f}",
                f"{row.confidence_interval[0]:.3f} - {row.confidence_interval[1]:.3f}",
                f"{row.threshold.hit_rate:.1%}",
                f"{row.wrong} of {row.served}",
                f"{row.wrong_interval[0]:.1%} - {row.wrong_interval[1]:.1%}",
            )
        else:
            table.add_row(f"{row.target:.1%}", "-", "-", "nothing", "-", "-")
    return table


def _recommendation(found: Study, chosen: Row) -> str:
    if chosen.served:
        low, high = chosen.hit_interval
        said = (
            f"recommended: target_error: {chosen.target:g}, which serves {chosen.threshold.hit_rate:.1%} of such "
            f"candidates (90 % interval {low:.1%} - {high:.1%}), at most {chosen.threshold.error_upper:.1%} of them wrong"
        )
        if (most := chosen.wrong_interval[1]) > chosen.target:
            said += (
                f"\nSo say the shipped calibration and these pairs together. By the pairs alone, of which {chosen.wrong} of "
                f"{chosen.served} served are wrong, it could be {most:.1%}: label more."
            )
        return said
    if found.least is None:
        return f"target_error: {chosen.target:g} serves nothing, and no other does: label more pairs"
    return f"target_error: {chosen.target:g} serves nothing on these pairs; the strictest that does is {found.least.target:g}"
