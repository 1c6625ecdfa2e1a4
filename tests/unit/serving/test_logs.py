from __future__ import annotations

import json
import logging
import sys

import pytest

from serving.logs import JsonFormatter, configure
from serving.settings import LogSettings


def record(message: str = "limits of %s", *arguments: object, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("ratelimit", logging.WARNING, __file__, 1, message, arguments or ("alice",), None)
    vars(made).update(more)
    return made


def read(line: str) -> dict[str, object]:
    told: dict[str, object] = json.loads(line)
    return told


def test_a_line_of_json_has_the_references_names() -> None:
    told = read(JsonFormatter().format(record(created=0.5)))

    assert told == {
        "@timestamp": "1970-01-01T00:00:00.500000+00:00",
        "level": "warning",
        "@message": "limits of alice",
        "logger": "ratelimit",
    }


def test_a_line_end_in_a_value_forges_no_line() -> None:
    assert "\n" not in JsonFormatter().format(record("%s", "a\nb"))


def test_fields_stand_beside_the_message() -> None:
    told = read(JsonFormatter().format(record(fields={"rule": "d.k", "left_out": 3})))

    assert (told["rule"], told["left_out"]) == ("d.k", 3)


def test_an_exception_is_told_with_its_stack() -> None:
    try:
        int("nothing")
    except ValueError:
        told = read(JsonFormatter().format(record(exc_info=sys.exc_info())))

    assert str(told["exception"]).endswith("invalid literal for int() with base 10: 'nothing'")


@pytest.fixture
def root() -> logging.Logger:
    """The root logger, put back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield root  # type: ignore[misc]
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize(
    ("name", "level"),
    [("TRACE", logging.DEBUG), ("WARN", logging.WARNING), ("info", logging.INFO), ("PANIC", logging.CRITICAL)],
)
def test_levels_have_the_references_names(root: logging.Logger, name: str, level: int) -> None:
    configure(LogSettings(log_level=name))  # type: ignore[arg-type]

    assert root.level == level


@pytest.mark.parametrize(("form", "is_json"), [("text", False), ("json", True)])
def test_the_form_is_a_setting(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], form: str, *, is_json: bool
) -> None:
    configure(LogSettings(log_format=form))  # type: ignore[arg-type]

    root.warning("hello")

    line = capsys.readouterr().err
    assert ("hello" in line, line.startswith("{")) == (True, is_json)
