"""An export is what sentence-transformers computes, or it is not kept."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import runpy
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from semcache.embedders import model_folder
from semcache.embedders.onnx import OnnxModel
from semcache.embedders.sentence import load_model
from semcache.errors import EmbedUnavailable, ExportError
from semcache.export import default, reference, sources
from semcache.export.bert import BertGraph
from semcache.export.model import SIMILARITY_MIN, build, export, read_source, revision_of
from semcache.export.traced import Traced
from semcache.export.weights import read_safetensors
from tests.fakes import tiny_bert
from weir.commands.export_model import export_model

HAS_ORIGINAL = importlib.util.find_spec("sentence_transformers") is not None
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Write a tiny model whose original is recorded, or differently by `record`."""
    monkeypatch.setattr(reference, "RECORDED", tmp_path / "recorded")
    (tmp_path / "recorded").mkdir()

    def make(pooling: str = "mean", record: Callable[[Any], None] = lambda _: None) -> Path:
        folder = tiny_bert.write(tmp_path / "source", pooling)
        known = json.loads((tiny_bert.RECORDED / f"{pooling}.json").read_text())
        record(known)
        (tmp_path / "recorded" / f"{revision_of(folder)}.json").write_text(json.dumps(known))
        return folder

    return make


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("precision", SIMILARITY_MIN)
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_an_export_is_what_the_original_computes(make: Make, tmp_path: Path, pooling: str, precision: str) -> None:
    kept = export(make(pooling), tmp_path / "out", "tiny", precision)

    description, graph, tokenizer = model_folder.read(tmp_path / "out")
    texts, expected = reference.vectors(tmp_path / "source", kept.source_revision)
    vectors, _ = OnnxModel(graph, tokenizer, kept.window_tokens).embed(texts)
    assert description == kept
    assert (kept.precision, kept.dimensions, kept.window_tokens) == (precision, tiny_bert.WIDTH, tiny_bert.WINDOW)
    assert (vectors * expected).sum(axis=1).min() >= SIMILARITY_MIN[precision]
    assert kept.similarity_min >= SIMILARITY_MIN[precision]


def test_mean_and_first_token_are_two_models(make: Make, tmp_path: Path) -> None:
    mean = export(make("mean"), tmp_path / "mean", "tiny", "fp32")
    shutil.rmtree(tmp_path / "source")
    cls = export(make("cls"), tmp_path / "cls", "tiny", "fp32")

    assert mean.identity.slug != cls.identity.slug


def test_pooling_is_read_as_later_versions_write_it(make: Make, tmp_path: Path) -> None:
    folder = make("cls")
    written = {"embedding_dimension": tiny_bert.WIDTH, "pooling_mode": "cls", "include_prompt": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(written))

    assert export(folder, tmp_path / "out", "tiny", "fp32").similarity_min >= SIMILARITY_MIN["fp32"]


def turned(recorded: Any) -> None:
    recorded["vectors"].reverse()


@pytest.mark.parametrize("precision", SIMILARITY_MIN)
def test_an_export_that_is_not_faithful_is_not_kept(make: Make, tmp_path: Path, precision: str) -> None:
    folder = make(record=turned)

    with pytest.raises(ExportError, match=rf"{precision}: the least cosine to the original is -?0\.\d+, not 0\.99"):
        export(folder, tmp_path / "out", "tiny", precision)

    assert not (tmp_path / "out").exists()


def test_numbers_that_are_none_are_not_faithful(make: Make, tmp_path: Path) -> None:
    folder = make()
    arrays = tiny_bert.weights(len(set(tiny_bert.WORDS)))
    arrays["encoder.layer.1.output.dense.bias"][:] = np.nan
    known = next((tmp_path / "recorded").iterdir())
    tiny_bert.write_safetensors(folder / "model.safetensors", arrays)
    known.rename(known.with_name(f"{revision_of(folder)}.json"))

    with pytest.raises(ExportError, match="nan"):
        export(folder, tmp_path / "out", "tiny", "fp32")


REFUSED = {
    "another family": ("config.json", {"architectures": ["MPNetModel"]}, "no plain BertModel"),
    "another activation": ("config.json", {"hidden_act": "relu"}, "no plain BertModel"),
    "relative positions": ("config.json", {"position_embedding_type": "relative_key"}, "not absolute"),
    "another pooling": ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "pooling is"),
    "a pooling with another name": ("1_Pooling/config.json", {"pooling_mode": "lasttoken"}, "pooling is"),
}


@pytest.mark.parametrize(("file", "values", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_built_by_hand_says_why_and_what_works(
    make: Make, tmp_path: Path, file: str, values: dict[str, object], reason: str
) -> None:
    folder = make()
    change(folder / file, **values)

    with pytest.raises(ExportError, match=f"int8 is built for BERT alone, and .*{reason}.*--precision fp32"):
        export(folder, tmp_path / "out", "tiny", "int8")


def test_more_modules_than_are_built_by_hand_are_named(make: Make, tmp_path: Path) -> None:
    folder = make()
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([*modules, {"type": "sentence_transformers.models.Dense"}]))

    with pytest.raises(ExportError, match=r"its modules are .*Dense"):
        export(folder, tmp_path / "out", "tiny", "int8")


def without(name: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        (folder / name).unlink()

    return remove


def cut(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("harm", [without("config.json"), without("modules.json"), without("model.safetensors"), cut])
def test_a_folder_that_is_not_whole_is_refused(make: Make, tmp_path: Path, harm: Callable[[Path], None]) -> None:
    folder = make()
    harm(folder)
    for known in (tmp_path / "recorded").iterdir():
        if (folder / "model.safetensors").exists() and known.stem != revision_of(folder):
            known.rename(known.with_name(f"{revision_of(folder)}.json"))

    with pytest.raises(ExportError):
        export(folder, tmp_path / "out", "tiny", "fp32")

    assert not (tmp_path / "out").exists()


def test_weights_are_read_in_every_size_of_float(tmp_path: Path) -> None:
    half = np.array([[0.5, -2.0]], np.float16)
    tiny_bert.write_safetensors(tmp_path / "w", {"half": half, "ids": np.arange(3)})

    read = read_safetensors(tmp_path / "w")

    assert read.keys() == {"half"}
    assert read["half"].dtype == np.float32
    assert read["half"].tolist() == [[0.5, -2.0]]


def test_without_anything_to_compare_with_nothing_is_exported(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make()
    next((tmp_path / "recorded").iterdir()).unlink()
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)

    with pytest.raises(ExportError, match="nothing to compare with: sentence-transformers is not installed"):
        export(folder, tmp_path / "out", "tiny", "fp32")


class Resolver:
    """Counts how often the weights are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = 0

    def __call__(self, model: str, scratch: Path) -> Path:
        assert (model, scratch.is_dir()) == (default.NAME, True)
        self.calls += 1
        return self.folder


def test_the_default_is_made_once_and_kept(make: Make, tmp_path: Path) -> None:
    resolve = Resolver(make())

    folders = [default.ensure(tmp_path / "models", resolve) for _ in range(2)]

    assert resolve.calls == 1
    assert {path.name for path in folders[0].glob("[a-z]*")} == {f"{default.NAME}-int8", f"{default.NAME}-fp32"}


def test_who_waited_while_another_made_it_takes_what_that_made(make: Make, tmp_path: Path) -> None:
    resolve, models = Resolver(make()), tmp_path / "models"
    made = default.ensure(tmp_path / "elsewhere", resolve)
    models.mkdir()
    with ThreadPoolExecutor(1) as pool, (models / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = pool.submit(default.ensure, models, resolve)
        place = f":{(models / '.lock').stat().st_ino} "
        while not any("->" in line and place in line for line in Path("/proc/locks").read_text().splitlines()):
            assert not waiting.done()
        for folder in made.glob("[a-z]*"):
            shutil.copytree(folder, models / folder.name)
        fcntl.flock(lock, fcntl.LOCK_UN)
        found = waiting.result(60)

    assert (found, resolve.calls) == (models, 1)


def test_where_it_is_whole_nothing_is_written(make: Make, tmp_path: Path) -> None:
    resolve = Resolver(make())
    folder = default.ensure(tmp_path / "models", resolve)
    (folder / ".lock").unlink()

    default.ensure(folder, resolve)

    assert not (folder / ".lock").exists()


@pytest.mark.parametrize("file", ["model.onnx", "tokenizer.json", "model.json"])
def test_a_damaged_export_is_found_and_made_again(make: Make, tmp_path: Path, file: str) -> None:
    resolve = Resolver(make())
    folder = default.ensure(tmp_path / "models", resolve) / f"{default.NAME}-int8"
    whole = model_folder.read(folder)
    data = bytearray((folder / file).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / file).write_bytes(data if file != "model.json" else data[:10])
    with pytest.raises(EmbedUnavailable):
        model_folder.read(folder)

    default.ensure(tmp_path / "models", resolve)

    assert resolve.calls == 2
    assert model_folder.read(folder) == whole


def test_an_export_is_found_by_its_identity(make: Make, tmp_path: Path) -> None:
    models = default.ensure(tmp_path / "models", Resolver(make()))
    (models / "broken").mkdir()
    (models / "broken" / "model.json").write_text("{")
    wanted = model_folder.read(models / f"{default.NAME}-fp32")[0].identity.slug

    assert model_folder.find(models, wanted) == models / f"{default.NAME}-fp32"
    assert model_folder.find(models, "another") is None


def test_the_command_says_what_it_made_and_what_it_refused(make: Make, tmp_path: Path) -> None:
    folder = make()
    arguments = [str(folder), "--out", str(tmp_path / "out"), "--name", "tiny"]
    made = CliRunner().invoke(export_model, arguments)
    change(folder / "config.json", hidden_act="relu")
    refused = CliRunner().invoke(export_model, [*arguments, "--precision", "int8"])

    assert made.exit_code == 0
    assert "tiny-int8: 32 dimensions, reads 24 tokens (what is longer is cut), cosine to the original" in made.output
    assert model_folder.read(tmp_path / "out" / "tiny-fp32")[0].name == "tiny"
    assert (refused.exit_code, "tiny-int8: int8 is built for BERT alone" in refused.output) == (1, True)


class Original:
    """What is used of a model of sentence-transformers, where that is not installed."""

    def __init__(self, name: str, **_: object) -> None:
        if "/" in name and not Path(name).is_dir():
            raise OSError(f"{name} is not known\nTraceback")
        self.name = name

    def encode(self, texts: list[str], **_: object) -> list[list[float]]:
        return [[float(number), 1.0] for number in range(len(texts))]

    def save(self, folder: str) -> None:
        (Path(folder) / self.name).mkdir(parents=True)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=Original))


@pytest.mark.usefixtures("package")
def test_what_the_original_computes_is_recorded_and_read_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "RECORDED", tmp_path / "recorded")
    texts, computed = reference.vectors(tmp_path, "r1")

    path = reference.record(tmp_path, "r1")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)

    assert (path.name, list(reference.vectors(tmp_path, "r1")[0])) == ("r1.json", list(texts))
    assert reference.vectors(tmp_path, "r1")[1].tolist() == computed.tolist()


@pytest.mark.usefixtures("package")
def test_a_model_of_any_name_is_had_as_sentence_transformers_has_it(tmp_path: Path) -> None:
    assert list(sources.resolve("known", tmp_path).iterdir()) == [tmp_path / "saved" / "known"]
    with pytest.raises(ExportError, match=r"does not load un/known: un/known is not known$"):
        sources.resolve("un/known", tmp_path)


@pytest.mark.usefixtures("package")
def test_an_embedder_has_its_model_from_there_too() -> None:
    assert load_model("known").name == "known"
    with pytest.raises(EmbedUnavailable, match="cannot load the model: un/known"):
        load_model("un/known")


def test_a_weight_that_is_missing_is_named(make: Make) -> None:
    shape, _ = read_source(make())

    with pytest.raises(ExportError, match="has no weight 'embeddings"):
        BertGraph(shape, {}, "fp32").build()


def test_what_is_traced_is_held_to_the_original_too(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make()
    by_hand = build(folder, "fp32")
    monkeypatch.setattr(
        "semcache.export.model.trace", lambda _: Traced(by_hand.graph, by_hand.tokenizer, by_hand.window_tokens)
    )
    change(folder / "config.json", hidden_act="relu")

    kept = export(folder, tmp_path / "out", "tiny", "fp32")

    assert (kept.precision, kept.window_tokens) == ("fp32", tiny_bert.WINDOW)


def test_a_name_that_nobody_knows_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)

    ended = CliRunner().invoke(export_model, ["some/model", "--out", str(tmp_path / "out")])

    assert ended.exit_code == 1
    assert ended.output == "model: sentence-transformers is not installed (pip install sentence-transformers onnx)\n"


if HAS_ORIGINAL:  # pragma: no cover - PyTorch is not installed with the tests; where it is, it is compared with

    @pytest.mark.filterwarnings("ignore")
    def test_what_is_recorded_is_what_the_original_computes(make: Make, tmp_path: Path) -> None:
        folder = make()
        recorded = reference.vectors(folder, revision_of(folder))[1]
        next((tmp_path / "recorded").iterdir()).unlink()

        made = reference.vectors(folder, revision_of(folder))[1]

        assert (recorded * made).sum(axis=1) == pytest.approx(1, abs=1e-5)

    @pytest.mark.filterwarnings("ignore")
    def test_another_family_is_traced(make: Make, tmp_path: Path) -> None:
        folder = make()
        modules = json.loads((folder / "modules.json").read_text())
        modules.append({"idx": 2, "name": "2", "path": "", "type": "sentence_transformers.models.Normalize"})
        modules.append({"idx": 3, "name": "3", "path": "", "type": "sentence_transformers.models.Normalize"})
        (folder / "modules.json").write_text(json.dumps(modules))

        kept = export(folder, tmp_path / "out", "tiny", "fp32")

        assert (kept.similarity_min >= SIMILARITY_MIN["fp32"], kept.window_tokens) == (True, tiny_bert.WINDOW)


@pytest.mark.usefixtures("package")
def test_the_command_says_where_it_wrote_what_the_original_computes(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make()
    path = tmp_path / "recorded" / f"{revision_of(folder)}.json"
    path.unlink()
    monkeypatch.setattr(sys, "argv", ["semcache.export", str(folder)])

    runpy.run_module("semcache.export", run_name="__main__")

    assert capsys.readouterr().out == f"{path}\n"
    assert list(json.loads(path.read_text())["texts"]) == list(reference.TEXTS)
