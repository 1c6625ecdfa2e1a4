"""What holds for every test."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Nothing passes or fails by the time it takes: the machine may be busy. Speed is shown by bench/.
settings.register_profile("house", deadline=None)
settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take what transcripts want."""
    parser.addoption(
        "--rewrite", action="store_true", help="write down what transcripts of tests/scenarios come out as"
    )


@pytest.fixture(autouse=True)
def _own_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test but the stores' contract, which has read them by now, off a server that QDRANT_URL and others name."""
    for name in [each for each in os.environ if each.startswith("QDRANT_")]:
        monkeypatch.delenv(name)
