"""Every transcript comes out as it is written. `pytest tests/scenarios --rewrite` writes down what came out: read the difference."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ratelimit import settings
from ratelimit.app import Service
from tests.fakes.clock import FakeClock
from tests.scenarios.scene import Scene
from tests.scenarios.transcript import play

TRANSCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.fixture
async def scene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Scene]:
    for name, value in {"RUNTIME_ROOT": str(tmp_path), "USE_STATSD": "false", "BACKEND_TYPE": "memory"}.items():
        monkeypatch.setenv(name, value)
    clock = FakeClock()
    service = Service(settings.load(), clock)
    await service.store.start()
    (tmp_path / "rules").mkdir()
    yield Scene(service, clock, tmp_path / "rules", caplog)
    await service.store.stop()


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
async def test_a_transcript_comes_out_as_it_is_written(path: Path, scene: Scene, pytestconfig: pytest.Config) -> None:
    written = _written(path)

    played = await play(written, scene.answer)
    if pytestconfig.getoption("--rewrite"):
        written = _rewrite(path, played)

    assert played == written


def test_there_are_transcripts() -> None:
    assert TRANSCRIPTS


def _written(path: Path) -> str:
    return path.read_text()


def _rewrite(path: Path, played: str) -> str:
    path.write_text(played)
    return played
