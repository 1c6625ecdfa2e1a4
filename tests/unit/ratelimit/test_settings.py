from __future__ import annotations

import pytest

import ratelimit.settings
import serving.settings
from docs.settings_tables import groups
from ratelimit.settings import GROUPS, environment_remarks


def test_no_group_is_left_out() -> None:
    written = {*groups(serving.settings), *groups(ratelimit.settings)}

    # Its names are made up by the operator.
    assert set(GROUPS) == written - {serving.settings.MogrifierSettings}


def test_a_slip_in_the_environment_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_APPDIRECTRY", "rules")

    assert "RUNTIME_APPDIRECTRY is no setting; is RUNTIME_APPDIRECTORY meant?" in environment_remarks()


def test_memcache_is_told_to_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMCACHE_HOST_PORT", "secret-host:1")

    remarks = environment_remarks()

    assert any("MEMCACHE_HOST_PORT" in remark for remark in remarks)
    assert not any("secret-host" in remark for remark in remarks)
