from __future__ import annotations

import pytest
from click.testing import CliRunner
from rich.console import Console

from weir.__main__ import main
from weir.client import Answer, Answers, Entries
from weir.commands.check import Descriptor, as_json, table

LIMITED = Answer((("user", "alice"), ("model", "")), True, 300, "minute", "small", 0, 20)
UNLIMITED = Answer((("user", "acme"),), False, None, "", "", 2**32 - 1, 0)
UNMATCHED = Answer((("user", "bob"),), False, None, "", "", 0, 0)
NAMELESS = Answer((("user", "carol"),), False, 10, "day", "", 4, 100)


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("user=alice", (("user", "alice"),)),
        ("user=alice,model=large", (("user", "alice"), ("model", "large"))),
        ("path=/a=b", (("path", "/a=b"),)),
        ("banned", (("banned", ""),)),
    ],
)
def test_a_descriptor_is_pairs_in_order(text: str, entries: Entries) -> None:
    assert Descriptor().convert(text, None, None) == entries


@pytest.mark.parametrize("text", ["", "=alice", "user=alice,,model=x"])
def test_a_descriptor_without_a_key_is_refused(text: str) -> None:
    result = CliRunner().invoke(main, ["check", "--domain", "llm", text])

    assert result.exit_code == 2
    assert "is not key=value,key=value" in result.output


def test_a_table_tells_unlimited_from_unmatched() -> None:
    console = Console(width=120, color_system=None)

    with console.capture() as capture:
        console.print(table(Answers(is_over=True, answers=(LIMITED, UNLIMITED, UNMATCHED, NAMELESS))))

    rows = [[cell.strip() for cell in row.strip("│").split("│")] for row in capture.get().splitlines() if "│" in row]
    assert rows == [
        ["user=alice, model=", "OVER_LIMIT", "300 per minute (small)", "0", "20 s"],
        ["user=acme", "OK", "unlimited", "", ""],
        ["user=bob", "OK", "none", "", ""],
        ["user=carol", "OK", "10 per day", "4", "1 min 40 s"],
    ]
    assert "overall: OVER_LIMIT" in capture.get()


def test_json_is_spelled_as_the_service_spells_it() -> None:
    assert as_json(Answers(is_over=True, answers=(LIMITED, UNMATCHED))) == {
        "overallCode": "OVER_LIMIT",
        "statuses": [
            {
                "entries": [{"key": "user", "value": "alice"}, {"key": "model", "value": ""}],
                "code": "OVER_LIMIT",
                "currentLimit": {"name": "small", "requestsPerUnit": 300, "unit": "MINUTE"},
                "durationUntilReset": "20s",
                "limitRemaining": 0,
            },
            {"entries": [{"key": "user", "value": "bob"}], "code": "OK", "limitRemaining": 0},
        ],
    }


def test_a_service_that_does_not_answer_is_an_error_and_not_a_refusal() -> None:
    result = CliRunner().invoke(main, ["check", "--domain", "llm", "--target", "unix:/no/such/socket", "user=alice"])

    assert result.exit_code == 2
    assert result.output.startswith("unix:/no/such/socket: UNAVAILABLE")


@pytest.mark.parametrize("option", ["--cert", "--key"])
def test_a_certificate_is_shown_with_its_key_over_tls_only(option: str) -> None:
    result = CliRunner().invoke(main, ["check", "--domain", "llm", option, __file__, "user=alice"])

    assert result.exit_code == 2
    assert "--cert and --key go together, and with --cacert" in result.output
