"""What the image is asked to do, without the image: what it installs, its entry point, its user, its read-only root."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.processes import RatelimitProcess
from tests.house.sources import tracked
from weir.client import Client

# A wheel is built first, with tools of its own: on a busy machine that alone may take a minute.
pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
SHIM = ROOT / "deploy" / "image" / "ratelimit"

# As a container engine would: nothing can be written, not even /tmp. Our Python may lie in a folder of
# root's, so reading it everywhere is left; writing is not.
READ_ONLY = """
mount -o remount,bind,ro /
for folder in /tmp /var/tmp; do mount --bind $folder $folder; mount -o remount,bind,ro $folder; done
exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all,+dac_read_search \\
    --ambient-caps=-all,+dac_read_search --bounding-set=-all,+dac_read_search --no-new-privs "$@"
"""
AS_NOBODY = ["unshare", "--mount", "sh", "-euc", READ_ONLY, "sh"]


def contained(*command: str) -> list[str]:
    """Only root can put a command where the image would run it; others run it as themselves."""
    return [*(AS_NOBODY if os.getuid() == 0 else []), *command]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the image installs, from the files that it is built from: no checkout, no compiled protos beside them."""
    source, wheels, site = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "site"))
    for path in (path.relative_to(ROOT) for path in tracked()):
        if path.parts[0] not in {"tests", "bench", "docs"}:
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, source / path)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--constraint", "constraints.txt"]
    subprocess.run([*build, "--wheel-dir", str(wheels), "."], cwd=source, check=True)
    (wheel,) = wheels.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    return site


@pytest.fixture
async def image(tmp_path: Path, installed: Path) -> AsyncIterator[RatelimitProcess]:
    environment = {
        "WEIR_PYTHON": sys.executable,
        "RUNTIME_ROOT": str(ROOT / "examples"),
        "RUNTIME_APPDIRECTORY": "rules",
        "TMPDIR": "/no/such/folder",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(installed),
    }
    image = RatelimitProcess(tmp_path, "", environment)
    image.command = contained(str(SHIM))
    await image.start()
    yield image
    await image.stop()


async def test_its_entry_point_serves_rules_as_nobody_on_a_read_only_root(image: RatelimitProcess) -> None:
    async with Client(image.target) as client:
        answers = await client.ask("llm", [(("user", "alice"),)], 301)

    user = Path(f"/proc/{image.process.pid}/status").read_text().split("Uid:")[1].split()[0]  # noqa: ASYNC240
    assert answers.is_over
    assert answers.answers[0].amount == 300
    assert user == ("65534" if os.getuid() == 0 else str(os.getuid()))


def test_what_is_installed_is_whole(installed: Path) -> None:
    kinds = {".py", ".lua", ".proto", ".yaml", ".json", ".npz", ".gz"}
    packages = ("protos", "serving", "ratelimit", "semcache", "weir")
    wanted = {
        path.relative_to(ROOT)
        for package in packages
        for path in (ROOT / package).rglob("*")
        if path.suffix in kinds and "__pycache__" not in path.parts
    }

    missing = [str(path) for path in sorted(wanted) if not (installed / path).is_file()]

    assert missing == []


async def test_its_entry_point_becomes_the_service_so_that_signals_reach_it(image: RatelimitProcess) -> None:
    image.process.terminate()

    assert await asyncio.wait_for(image.process.wait(), 20) == 0


@pytest.mark.parametrize("place", ["/tmp", "/var/tmp", "/", str(ROOT)])
async def test_nothing_can_be_written_there(place: str) -> None:
    command = contained("sh", "-c", 'touch "$0/weir-was-here"', place)
    if os.getuid() != 0:
        # Without root there is no such place to test: what it is made of must be there for those who are.
        command = ["sh", "-c", "command -v unshare >/dev/null && command -v setpriv >/dev/null && exit 1"]

    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    await process.communicate()

    assert process.returncode == 1
