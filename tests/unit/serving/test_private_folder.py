from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from serving.private_folder import SHARED_MEMORY, make_private_folder


@pytest.mark.parametrize("is_there", [True, False], ids=["temporary files", "shared memory"])
def test_nobody_else_may_enter_it_wherever_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_there: bool
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path if is_there else tmp_path / "missing"))

    folder = make_private_folder()
    mode, parent = folder.stat().st_mode & 0o777, folder.parent
    shutil.rmtree(folder)

    assert (mode, parent) == (0o700, tmp_path if is_there else Path(SHARED_MEMORY))
