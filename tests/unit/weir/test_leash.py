from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator

import pytest

from weir.demo import leash

PR_GET_PDEATHSIG = 2


@pytest.fixture(autouse=True)
def let_go() -> Iterator[None]:
    yield
    leash.hold(0)


def test_the_kernel_is_asked_to_end_us_with_our_parent() -> None:
    found = ctypes.c_int()

    leash.hold(15)
    ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(found))

    assert found.value == 15


def test_other_systems_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ctypes.c_int()
    monkeypatch.setattr(sys, "platform", "darwin")

    leash.hold(15)
    ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(found))

    assert found.value == 0


def test_nothing_is_started_for_a_parent_that_is_gone() -> None:
    assert leash.main([str(os.getppid() + 1), sys.executable, "-c", ""]) == 1


def test_a_command_that_cannot_be_executed_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    status = leash.main([str(os.getppid()), "/no/such/command"])

    assert status == 127
    assert capsys.readouterr().err == "/no/such/command cannot be executed: No such file or directory\n"
