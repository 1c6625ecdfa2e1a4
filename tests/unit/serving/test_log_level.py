from __future__ import annotations

import pytest

from serving.settings import LogSettings, SettingsError, read


@pytest.mark.parametrize("text", ["info", "Info", "INFO"])
def test_a_level_may_be_written_in_either_case(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", text)

    assert read(LogSettings).log_level == "INFO"


def test_an_unknown_level_is_told_by_name_and_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "loud")

    with pytest.raises(SettingsError, match=r"(?i)LOG_LEVEL: .*\(is 'loud'\)"):
        read(LogSettings)
