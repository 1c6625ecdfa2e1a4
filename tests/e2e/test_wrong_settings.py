"""A service that cannot start says why in one line, by the name of the setting."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

QUIET = {
    "BACKEND_TYPE": "memory", "USE_STATSD": "false", "HOST": "127.0.0.1", "PORT": "0", "DEBUG_HOST": "127.0.0.1",
    "DEBUG_PORT": "0", "GRPC_HOST": "127.0.0.1", "GRPC_PORT": "0", "RUNTIME_WATCH_ROOT": "false", "LOG_LEVEL": "fatal",
}  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"GRPC_PORT": "high", "SHADOW_MODE": "maybe", "LOG_LEVEL": "loud"}, ["GRPC_PORT", "SHADOW_MODE", "LOG_LEVEL"]),
        ({"GRPC_SERVER_USE_TLS": "true"}, ["GRPC_SERVER_TLS_CERT"]),
        ({"GRPC_SERVER_USE_TLS": "1", "GRPC_SERVER_TLS_CERT": "/none", "GRPC_SERVER_TLS_KEY": "/none"}, ["'/none'"]),
        ({"BACKEND_TYPE": "redis", "REDIS_URL": "none.sock", "REDIS_STARTUP_MAX_ELAPSED_TIME": "10ms"}, ["0.01 s"]),
    ],
    ids=["several", "no file", "a missing file", "no Redis"],
)
def test_what_is_wrong_is_one_line_that_names_it(
    environment: Mapping[str, str], named: list[str], tmp_path: Path
) -> None:
    service = subprocess.run(
        [sys.executable, "-P", "-m", "ratelimit"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, **QUIET, "RUNTIME_ROOT": str(tmp_path), **environment},
        text=True,
    )
    line = service.stderr.removesuffix("\n")

    assert service.returncode == 1
    assert line.startswith("ratelimit: ")
    assert "\n" not in line
    assert [name for name in named if name not in line] == []


def test_the_cache_too_names_what_is_misspelt_and_what_is_missing(tmp_path: Path) -> None:
    service = subprocess.run(
        [sys.executable, "-P", "-m", "semcache"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={
            **os.environ,
            "SEMCACHE_HOST": "127.0.0.1",
            "SEMCACHE_PORT": "0",
            "SEMCACHE_EDGE_FOLDR": "here",
            "USE_STATSD": "false",
        },
        text=True,
    )

    assert service.returncode == 1
    assert re.fullmatch(
        r"\S+ \S+ WARNING semcache\.app: SEMCACHE_EDGE_FOLDR is no setting; is SEMCACHE_EDGE_FOLDER meant\?\n"
        r"semcache: SEMCACHE_NAMESPACES_PATH: .*\n",
        service.stderr,
    )
