from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.fakes.models import model_folder
from weir.__main__ import main
from weir.calibration import labels
from weir.calibration.labels import LabelsError, read
from weir.calibration.study import wilson

SAME = ("How do I {} a {}?", "How can I {} a {}?")
VERBS, THINGS = ("buy", "sell", "paint", "mend", "rent"), ("house", "boat", "bike", "shed", "fence", "chair")


def rows(count: int, *, similarity: float = 0.97, right: float = 1.0) -> list[dict[str, object]]:
    draw = random.Random(1)
    made = []
    for _ in range(count):
        words = draw.choice(VERBS), draw.choice(THINGS)
        prompt, candidate = (text.format(*words) for text in SAME)
        fits = int(draw.random() < right)
        made.append({"prompt": prompt, "candidate": candidate, "fits": fits, "similarity": similarity})
    return made


def write(path: Path, made: list[dict[str, object]]) -> Path:
    separator = "\t" if path.suffix == ".tsv" else ","
    if path.suffix == ".jsonl":
        lines = [json.dumps(row) for row in made]
    else:
        lines = [separator.join(made[0]), *(separator.join(map(str, row.values())) for row in made)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["calibrate", *map(str, arguments)], env={"COLUMNS": "120"})


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv"])
def test_every_format_gives_the_same_pairs(tmp_path: Path, suffix: str) -> None:
    pairs = read(write(tmp_path / f"pairs.{suffix}", rows(3)))

    assert [(pair.fits, pair.similarity) for pair in pairs] == [(True, 0.97)] * 3
    assert pairs == read(write(tmp_path / "other.jsonl", rows(3)))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("[]", "prompt: is missing or no text"),
        ("{not json", "prompt: is missing or no text"),
        ('{"prompt": "secret", "candidate": " ", "fits": 1}', "candidate: is missing or no text"),
        ('{"prompt": "secret", "candidate": "b", "fits": "maybe"}', "fits: is neither 1 nor 0"),
        ('{"prompt": "secret", "candidate": "b"}', "fits: is neither 1 nor 0"),
        ('{"prompt": "secret", "candidate": "b", "fits": 0, "similarity": 7}', "similarity: is no number from -1 to 1"),
        (
            '{"prompt": "secret", "candidate": "b", "fits": 0, "similarity": "x"}',
            "similarity: is no number from -1 to 1",
        ),
    ],
)
def test_a_bad_line_is_told_by_file_line_and_field_without_its_text(tmp_path: Path, line: str, problem: str) -> None:
    path = write(tmp_path / "pairs.jsonl", rows(1))
    path.write_text(path.read_text() + line + "\n")

    with pytest.raises(LabelsError) as caught:
        read(path)

    assert str(caught.value) == f"{path}:2: {problem}"


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("pairs.txt", b"x", "not .jsonl, .csv or .tsv"),
        ("pairs.jsonl", b"", "no pairs"),
        ("pairs.csv", b"\xff\xfe", "UnicodeDecodeError: cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    result = run(path)

    assert (result.exit_code, result.output) == (1, f"Error: {path}: {problem}\n")


def test_pairs_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "PAIRS_MAX", 2)
    at_most, above = (write(tmp_path / f"{count}.csv", rows(count)) for count in (2, 3))

    assert len(read(at_most)) == 2
    with pytest.raises(LabelsError, match="more than 2 pairs"):
        read(above)


def test_a_similarity_that_is_not_given_is_computed_by_the_model(tmp_path: Path) -> None:
    given = rows(40)
    for row in given[::2]:
        del row["similarity"]
    path = write(tmp_path / "pairs.jsonl", given)

    result = run(path, "--model", model_folder())

    assert (result.exit_code, read(path)[0].similarity) == (0, None)
    assert "40" in result.output


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    given = rows(1)
    del given[0]["similarity"]

    result = run(write(tmp_path / "pairs.jsonl", given), "--model", tmp_path)

    assert result.exit_code == 1
    assert str(tmp_path) in result.output


def test_good_pairs_get_a_recommendation(tmp_path: Path) -> None:
    result = run(write(tmp_path / "pairs.jsonl", rows(300)), "--target", "0.03")

    assert result.exit_code == 0
    assert "300 pairs, 300 right" in result.output
    assert "recommended: target_error: 0.03, which serves 100.0% of such" in result.output


@pytest.mark.parametrize(("pairs", "is_told"), [(5, True), (300, False)])
def test_pairs_too_few_to_show_the_target_by_themselves_are_told(tmp_path: Path, pairs: int, *, is_told: bool) -> None:
    result = run(write(tmp_path / "pairs.jsonl", rows(pairs)))

    assert "recommended: target_error: 0.03" in result.output
    assert ("By the pairs alone" in " ".join(result.output.split())) is is_told


def test_pairs_that_are_often_wrong_get_none(tmp_path: Path) -> None:
    result = run(write(tmp_path / "pairs.jsonl", rows(600, right=0.5)))

    assert result.exit_code == 1
    assert "target_error: 0.03 serves nothing" in result.output


def test_what_is_kept_by_some_target_only_names_the_strictest(tmp_path: Path) -> None:
    result = run(write(tmp_path / "pairs.jsonl", rows(800, right=0.92)), "--target", "0.01")

    assert result.exit_code == 1
    assert "the strictest that does is 0.1" in result.output


def test_what_guards_refuse_is_told_by_guard(tmp_path: Path) -> None:
    made = [*rows(20), {"prompt": "rooms with 2 beds", "candidate": "rooms with 3 beds", "fits": 0, "similarity": 0.98}]

    result = run(write(tmp_path / "pairs.csv", made))

    assert "before any score 1 wrong and 0 right ones are refused" in result.output
    assert "numbers: 1 wrong, 0 right" in result.output


def test_what_the_service_does_not_look_at_is_told_and_moves_nothing(tmp_path: Path) -> None:
    far = [{"prompt": "how deep is it", "candidate": "who are you", "fits": 0, "similarity": 0.6}] * 50
    unread = [{"prompt": "weir " * 300 + "how deep is it?", "candidate": "weir " * 300 + "who dug it?", "fits": 0}] * 2

    near_alone = run(write(tmp_path / "near.jsonl", rows(300, right=0.98)), "--target", "0.1").output
    result = run(write(tmp_path / "pairs.jsonl", [*rows(300, right=0.98), *far, *unread]), "--target", "0.1")

    assert "similarity: 52 wrong, 0 right" in result.output
    assert confidences(result.output) == confidences(near_alone)


def confidences(output: str) -> list[str]:
    return [line.split("│")[2] for line in output.splitlines() if line.startswith("│")]


def test_the_plot_is_one_page_without_prompts(tmp_path: Path) -> None:
    run(write(tmp_path / "pairs.jsonl", rows(300, right=0.98)), "--target", "0.1", "--plot", tmp_path / "curve.html")
    page = (tmp_path / "curve.html").read_text()

    assert page.startswith("<!doctype html>")
    assert "<svg" in page
    assert "<polyline" in page
    assert "boat" not in page
    assert "http" not in page


@pytest.mark.parametrize(
    ("count", "of", "low", "high"), [(0, 0, 0.0, 1.0), (0, 100, 0.0, 0.0263), (50, 100, 0.419, 0.581)]
)
def test_an_interval_of_a_share_is_wilsons(count: int, of: int, low: float, high: float) -> None:
    assert wilson(count, of) == pytest.approx((low, high), abs=1e-3)


def test_without_a_similarity_and_a_named_model_it_is_the_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMCACHE_EMBEDDER_MODEL", str(model_folder()))
    given = rows(2)
    for row in given:
        del row["similarity"]

    assert "2 pairs" in run(write(tmp_path / "pairs.jsonl", given)).output


def test_a_target_that_serves_nothing_has_no_line_in_the_plot(tmp_path: Path) -> None:
    good, bad = (write(tmp_path / f"{share}.jsonl", rows(200, right=share)) for share in (1.0, 0.5))
    plots = [tmp_path / "good.html", tmp_path / "bad.html"]

    for path, plot in zip((good, bad), plots, strict=True):
        run(path, "--plot", plot)

    assert ["stroke-dasharray" in plot.read_text() for plot in plots] == [True, False]
