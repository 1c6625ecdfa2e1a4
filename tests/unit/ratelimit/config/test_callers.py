from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from ratelimit.config.callers import CallersWatch, load, read
from ratelimit.errors import ConfigError
from ratelimit.rights import Rights, Role
from ratelimit.settings import ApiSettings
from serving.metrics import Registry
from serving.rights import Identity, digest

GOOD = f"""
callers:
  - token_sha256: {digest("secret")}
    roles: [ask]
    domains: [llm]
  - san: spiffe://a/b
    roles: [administer]
"""
HOLDER = Identity(token="secret")


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110 - the file system tells nobody else
            await asyncio.sleep(0.01)


def test_a_file_says_who_may_do_what() -> None:
    rights = Rights(read("callers.yaml", GOOD.encode()))

    assert rights.allows(HOLDER, Role.ASK, "llm")
    assert not rights.allows(HOLDER, Role.SETTLE, "llm")
    assert not rights.allows(HOLDER, Role.ASK, "other")
    assert rights.allows(Identity(("spiffe://a/b",)), Role.REFUND, "other")


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("callers: [{anyone: true}]", ["c.yaml:1: callers[0].roles: is missing"]),
        ("callers: [{anyone: true, roles: []}]", ["c.yaml:1: callers[0]: has no roles"]),
        ("callers:\n- roles: [ask]", ["c.yaml:2: callers[0]: needs exactly one of san, token_sha256 and anyone"]),
        ("callers:\n- anyone: true\n  roles: [ask]\n  role: x", ["c.yaml:4: callers[0].role: nobody knows this key"]),
        ("other: 1", ["c.yaml:1: needs a list under `callers`"]),
        ("callers: []\nmore: 1", ["c.yaml:2: more: nobody knows this key"]),
        ("callers: [", ["c.yaml:2: "]),
    ],
)
def test_every_problem_has_its_line(text: str, problems: list[str]) -> None:
    with pytest.raises(ConfigError) as raised:
        read("c.yaml", text.encode())

    told = [str(problem) for problem in raised.value.problems]
    assert len(told) == len(problems)
    assert all(one.startswith(start) for one, start in zip(told, problems, strict=True)), told


def test_a_bad_digest_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as raised:
        read("c.yaml", b"callers: [{token_sha256: plain-password, roles: [ask]}]")

    assert "plain-password" not in str(raised.value)


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.yaml")


def test_a_file_has_a_largest_size(tmp_path: Path) -> None:
    path = tmp_path / "callers.yaml"
    path.write_bytes(b"#" * (1024 * 1024 + 1))

    with pytest.raises(ConfigError, match="more than 1048576 bytes"):
        load(path)


async def test_a_changed_file_comes_into_force_and_a_bad_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "callers.yaml"
    path.write_text(GOOD)
    rights, registry = Rights(), Registry()
    watch = CallersWatch(
        ApiSettings(callers_path=str(path), callers_poll_interval=0.05), rights, registry, sees_names=True
    )
    refused = registry.counter("weir.callers.refused")
    await watch.start()
    try:
        path.write_text("callers: 1")
        await until(lambda: refused.value > 0)
        after_the_bad_one = rights.allows(HOLDER, Role.ASK, "llm")
        path.write_text(GOOD.replace("[ask]", "[settle]"))
        await until(lambda: rights.allows(HOLDER, Role.SETTLE, "llm"))
    finally:
        await watch.stop()

    assert after_the_bad_one
    assert not rights.allows(HOLDER, Role.ASK, "llm")


async def test_a_service_does_not_start_with_a_bad_file(tmp_path: Path) -> None:
    watch = CallersWatch(ApiSettings(callers_path=str(tmp_path / "none.yaml")), Rights(), Registry(), sees_names=False)

    with pytest.raises(OSError, match="API_CALLERS_PATH"):
        await watch.start()


async def test_rules_that_can_let_nobody_pass_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "callers.yaml"
    path.write_text(GOOD)
    watch = CallersWatch(ApiSettings(callers_path=str(path)), Rights(), Registry(), sees_names=False)
    await watch.start()
    await watch.stop()

    assert "rules by `san` let nobody pass" in caplog.text
