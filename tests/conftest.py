"""What holds for every test."""

from __future__ import annotations

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
