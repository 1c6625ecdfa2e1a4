"""Start a server with the environment that a suite asks for, and everything around it."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from serving.tls import channel_credentials
from tests.conformance.background import Background
from tests.conformance.client import Client
from tests.conformance.processes import START_BOUND_SECONDS, Process, redis_client, redis_server
from tests.conformance.relay import Relay
from tests.conformance.runner import BASE_DOMAIN, base_files, is_limited
from tests.conformance.suites import Settings
from tests.conformance.target import Store, Target
from tests.conformance.tree import APPDIRECTORY, SUBDIRECTORY, Tree
from tests.fakes.certificates import issue, make_ca
from tests.fakes.ports import free_port
from tests.fakes.statsd import Statsd

OUR_COMMAND = (sys.executable, "-m", "ratelimit")
FLUSH_INTERVAL = "200ms"


@dataclass(frozen=True)
class Stores:
    """Ports of the two Redis servers."""

    main: int
    per_second: int


@dataclass(frozen=True)
class Start:
    """How a server is started."""

    settings: Settings = ()
    files: Mapping[str, str] = field(default_factory=dict)
    has_usable_config: bool = True
    stores: Stores | None = None
    """None: counters in the server's memory."""
    transport: str = "front"
    is_tls: bool = False
    """gRPC by mutual TLS."""
    command: Sequence[str] = OUR_COMMAND


@contextlib.contextmanager
def running_stores() -> Iterator[Stores]:
    with redis_server() as main, redis_server() as per_second:
        yield Stores(main, per_second)


@contextlib.contextmanager
def launch(start: Start) -> Iterator[Target]:
    """Start a server and wait until its rules are in force; stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder, contextlib.ExitStack() as stack:
        tree = Tree(Path(folder))
        tree.start()
        tree.write(start.files)
        background = Background()
        background.start()
        stack.callback(background.stop)
        statsd = _start_statsd(background, stack)
        relay = _start_relay(start, background, stack)
        addresses = {name: f"127.0.0.1:{free_port()}" for name in ("GRPC", "HTTP", "DEBUG", "PROMETHEUS")}
        environment = _environment(start, addresses, tree, statsd.port, relay)
        credentials = _tls(Path(folder), environment) if start.is_tls else None
        process = _start_process(Process(start.command, environment, Path(folder) / "log"), addresses, stack)
        client = Client(addresses["GRPC"], credentials)
        stack.callback(client.close)
        target = Target(
            client=client,
            main=addresses["HTTP"],
            debug=addresses["DEBUG"],
            metrics=addresses["PROMETHEUS"],
            stores=_store_clients(start.stores, stack),
            statsd=statsd,
            folder=tree,
            link=relay,
            background=background,
            read_log=process.read_log,
            has_ended=process.has_ended,
            pid=process.pid,
        )
        if start.has_usable_config:
            has_base = base_files().items() <= start.files.items()
            wait_until_loaded(target, BASE_DOMAIN if has_base else None)
        yield target


def port_of(address: str) -> str:
    return address.rsplit(":", 1)[1]


def wait_until_loaded(target: Target, domain: str | None) -> None:
    """Wait until the rules of a domain are in force; None: until any are.

    Raises:
        RuntimeError: they are not.
    """
    probe = {"domain": "conformance-probe", "descriptors": [{"entries": [["probe", "x"]], "hits_addend": 0}]}

    def is_loaded() -> bool:
        # Without a base file: a server that has no config yet answers every call with an error.
        return is_limited(target, domain) if domain else "error" not in target.client.ask(probe, 1.0)

    if not target.wait_for(is_loaded, START_BOUND_SECONDS):
        log = target.read_log()[-4000:] if target.read_log is not None else ""
        raise RuntimeError(f"no usable config after {START_BOUND_SECONDS} s; the server wrote:\n{log}")


def _environment(
    start: Start, addresses: Mapping[str, str], tree: Tree, statsd_port: int, relay: Relay | None
) -> dict[str, str]:
    environment = {
        "HOST": "127.0.0.1",
        "PORT": port_of(addresses["HTTP"]),
        "GRPC_HOST": "127.0.0.1",
        "GRPC_PORT": port_of(addresses["GRPC"]),
        "DEBUG_HOST": "127.0.0.1",
        "DEBUG_PORT": port_of(addresses["DEBUG"]),
        "PROMETHEUS_ADDR": addresses["PROMETHEUS"],
        "RUNTIME_ROOT": str(tree.root),
        "RUNTIME_SUBDIRECTORY": SUBDIRECTORY,
        "RUNTIME_APPDIRECTORY": APPDIRECTORY,
        "RUNTIME_WATCH_ROOT": "true",
        "USE_STATSD": "true",
        "STATSD_HOST": "127.0.0.1",
        "STATSD_PORT": str(statsd_port),
        "STATS_FLUSH_INTERVAL": FLUSH_INTERVAL,
        # No reference has these: a server under test need not stay up for health checks that nobody makes.
        "DRAIN_DELAY": "0s",
        "TRANSPORT": start.transport,
    }
    link = "" if relay is None else f"127.0.0.1:{relay.port}"
    own = {name: value.replace("${LINK}", link) for name, value in start.settings}
    return environment | _store_environment(start.stores) | own


def _tls(folder: Path, environment: dict[str, str]) -> grpc.ChannelCredentials:
    """Have the server speak mutual TLS; return what its client shows."""
    ca = make_ca(folder)
    server, client = issue(ca, ["127.0.0.1"], "server"), issue(ca, ["gateway"], "client")
    environment |= {
        "GRPC_SERVER_USE_TLS": "true",
        "GRPC_SERVER_TLS_CERT": str(server.certificate),
        "GRPC_SERVER_TLS_KEY": str(server.key),
        "GRPC_CLIENT_TLS_CACERT": str(ca.path),
        "GRPC_CLIENT_TLS_SAN": "gateway",
    }
    return channel_credentials(str(ca.path), str(client.certificate), str(client.key))


def _store_environment(stores: Stores | None) -> dict[str, str]:
    if stores is None:
        return {"BACKEND_TYPE": "memory"}
    return {
        "BACKEND_TYPE": "redis",
        "REDIS_SOCKET_TYPE": "tcp",
        "REDIS_URL": f"127.0.0.1:{stores.main}",
        "REDIS_PERSECOND_SOCKET_TYPE": "tcp",
        "REDIS_PERSECOND_URL": f"127.0.0.1:{stores.per_second}",
    }


def _start_process(process: Process, addresses: Mapping[str, str], stack: contextlib.ExitStack) -> Process:
    stack.callback(process.stop)
    process.start()
    process.wait_for_port(int(port_of(addresses["GRPC"])))
    process.wait_for_port(int(port_of(addresses["HTTP"])))
    return process


def _start_statsd(background: Background, stack: contextlib.ExitStack) -> Statsd:
    statsd = Statsd()
    background.call(statsd.start())
    stack.callback(lambda: background.call(statsd.stop()))
    return statsd


def _start_relay(start: Start, background: Background, stack: contextlib.ExitStack) -> Relay | None:
    if start.stores is None or not any("${LINK}" in value for _, value in start.settings):
        return None
    relay = Relay("127.0.0.1", start.stores.main)
    background.call(relay.start())
    stack.callback(lambda: background.call(relay.stop()))
    return relay


def _store_clients(stores: Stores | None, stack: contextlib.ExitStack) -> dict[str, Store]:
    if stores is None:
        return {}
    ports = {"main": stores.main, "per_second": stores.per_second}
    return {name: stack.enter_context(redis_client(port)) for name, port in ports.items()}
