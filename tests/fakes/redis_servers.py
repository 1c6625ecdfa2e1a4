"""Real Redis servers, each in a folder of its own: single, with TLS or users, a cluster, a master with sentinels."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hiredis

from tests.fakes.ports import free_port

READY_SECONDS = 20.0
_TURN_SECONDS = 0.01


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    end = time.perf_counter() + READY_SECONDS
    while not is_so():
        if time.perf_counter() > end:
            raise AssertionError(f"not within {READY_SECONDS:.0f} s: {what}")
        time.sleep(_TURN_SECONDS)


class RedisServer:
    """One process; it always has a Unix socket, by which the tests look behind the back of what they test."""

    def __init__(self, *options: str, has_port: bool = False) -> None:
        # Not pytest's folder: the path of a Unix socket may have some hundred bytes only.
        self.folder = Path(tempfile.mkdtemp(prefix="weir-redis-"))
        self.path = self.folder / "s"
        self.port = free_port() if has_port else 0
        self.options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> RedisServer:
        self.spawn()
        wait_until(self._answers, "redis-server starts")
        return self

    def spawn(self) -> None:
        """Start without waiting: it may be loading for a while."""
        self._process = subprocess.Popen([_binary(), *self._arguments()], stdout=subprocess.DEVNULL)
        wait_until(self._listens, "redis-server listens")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _arguments(self) -> list[str]:
        arguments = ["--port", str(self.port), "--unixsocket", str(self.path), "--dir", str(self.folder)]
        return [*arguments, "--save", "", "--appendonly", "no", "--logfile", str(self.folder / "log"), *self.options]

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.path.unlink(missing_ok=True)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, *command: str | int) -> Any:
        """Return the reply; errors are raised."""
        return self.ask_all(command)[0]

    def ask_all(self, *commands: tuple[str | int, ...]) -> list[Any]:
        replies: list[Any] = []
        reader = hiredis.Reader(notEnoughData=...)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.path))
            connection.sendall(b"".join(hiredis.pack_command(command) for command in commands))  # type: ignore[arg-type]
            while len(replies) < len(commands):
                reader.feed(connection.recv(65_536) or _raise_lost())
                while (reply := reader.gets()) is not ...:
                    replies.append(reply)
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise reply
        return replies

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"redis-server ended: {(self.folder / 'log').read_text()}"
        return self.path.exists()

    def _answers(self) -> bool:
        try:
            return bool(self.ask("PING") == b"PONG")
        except (OSError, hiredis.ReplyError):
            return False


@contextmanager
def running(*options: str, has_port: bool = False) -> Iterator[RedisServer]:
    server = RedisServer(*options, has_port=has_port)
    try:
        yield server.start()
    finally:
        server.remove()


class RedisCluster:
    """Three masters that share the slots, in thirds."""

    def __init__(self) -> None:
        options = (
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "2000",
            "--cluster-require-full-coverage",
            "no",
            # A master that lost its last slot stays one, and can be told whose slots are whose.
            "--cluster-allow-replica-migration",
            "no",
        )
        self.servers = [RedisServer(*options, "--cluster-port", str(free_port()), has_port=True) for _ in range(3)]

    @property
    def addresses(self) -> str:
        return ",".join(server.address for server in self.servers)

    def start(self) -> RedisCluster:
        bounds = (0, 5461, 10923, 16384)
        first = self.servers[0]
        for position, server in enumerate(self.servers):
            server.start()
            server.ask("CLUSTER", "ADDSLOTSRANGE", bounds[position], bounds[position + 1] - 1)
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", position + 1)
            if server is not first:
                bus = first.options[first.options.index("--cluster-port") + 1]
                server.ask("CLUSTER", "MEET", "127.0.0.1", first.port, bus)
        wait_until(lambda: all(self._is_whole(server) for server in self.servers), "the cluster is whole")
        return self

    def is_held(self, slot: int) -> bool:
        """Whether every node knows who holds a slot."""
        return all(_has_slot(server.ask("CLUSTER", "SLOTS"), slot) for server in self.servers)

    def holder(self, slot: int) -> RedisServer:
        return self.servers[0 if slot < 5461 else 1 if slot < 10923 else 2]

    def remove(self) -> None:
        for server in self.servers:
            server.remove()

    @staticmethod
    def _is_whole(server: RedisServer) -> bool:
        info = server.ask("CLUSTER", "INFO")
        return b"cluster_state:ok" in info and b"cluster_slots_ok:16384" in info


@contextmanager
def running_cluster() -> Iterator[RedisCluster]:
    cluster = RedisCluster()
    try:
        yield cluster.start()
    finally:
        cluster.remove()


def node_id(server: RedisServer) -> str:
    return str(server.ask("CLUSTER", "MYID").decode())


@contextmanager
def moved(cluster: RedisCluster, slot: int) -> Iterator[None]:
    """Have the second node hold a slot of the first for a while."""
    _give(cluster, [slot], cluster.servers[1])
    yield
    _give(cluster, [slot], cluster.servers[0])


class Moving:
    """A slot on its way from one node to another, as a resharding takes it there."""

    def __init__(self, cluster: RedisCluster, slot: int, source: RedisServer, target: RedisServer) -> None:
        self._cluster = cluster
        self._slot = slot
        self._source = source
        self._target = target

    def begin(self) -> None:
        self._target.ask("CLUSTER", "SETSLOT", self._slot, "IMPORTING", node_id(self._source))
        self._source.ask("CLUSTER", "SETSLOT", self._slot, "MIGRATING", node_id(self._target))

    def keys(self) -> list[bytes]:
        """Return what has still to go."""
        return list(self._source.ask("CLUSTER", "GETKEYSINSLOT", self._slot, 100))

    def send(self, *keys: bytes) -> None:
        """Have keys go; an error where the other node has one of them already."""
        address = "127.0.0.1", self._target.port
        self._source.ask("MIGRATE", *address, "", 0, 5_000, "KEYS", *(key.decode() for key in keys))

    def finish(self) -> None:
        _give(self._cluster, [self._slot], self._target)


def empty(cluster: RedisCluster, node: int, *, into: int) -> None:
    """Have one node hold all slots of another, whose keys are lost."""
    # A node that holds keys gives no slot away.
    cluster.servers[node].ask("FLUSHALL")
    first, last = _held(cluster.servers[node])
    _give(cluster, range(first, last + 1), cluster.servers[into])


def _give(cluster: RedisCluster, slots: Iterable[int], holder: RedisServer) -> None:
    # What another node said before it was told may still be under way, and would win by a higher epoch. A node's next
    # epoch is above all that it has heard of.
    wait_until(lambda: _has_heard_all(cluster), "every node knows the highest epoch")
    holder.ask("CLUSTER", "BUMPEPOCH")
    commands = [("CLUSTER", "SETSLOT", slot, "NODE", node_id(holder)) for slot in slots]
    for server in (holder, *(server for server in cluster.servers if server is not holder)):
        server.ask_all(*commands)


def _has_heard_all(cluster: RedisCluster) -> bool:
    epochs = [_epochs(server.ask("CLUSTER", "INFO")) for server in cluster.servers]
    own = [mine for _, mine in epochs]
    return len(set(own)) == len(own) and {heard for heard, _ in epochs} == {max(own)}


def _epochs(info: bytes) -> tuple[int, int]:
    """Return the highest epoch that a node has heard of, and its own."""
    lines = dict(line.split(b":", 1) for line in info.split())
    return int(lines[b"cluster_current_epoch"]), int(lines[b"cluster_my_epoch"])


class SentinelServer(RedisServer):
    """Watches one master, and needs nobody to agree."""

    def __init__(self, master_port: int, password: str) -> None:
        super().__init__(has_port=True)
        self._password = password
        self._master_port = master_port

    def ask(self, *command: str | int) -> Any:
        if not self._password:
            return super().ask(*command)
        return self.ask_all(("AUTH", self._password), command)[-1]

    def _arguments(self) -> list[str]:
        lines = [
            f"port {self.port}",
            f"unixsocket {self.path}",
            f"logfile {self.folder / 'log'}",
            f"sentinel monitor tokens 127.0.0.1 {self._master_port} 1",
            "sentinel down-after-milliseconds tokens 300",
            "sentinel failover-timeout tokens 2000",
            f'requirepass "{self._password}"',
        ]
        configuration = self.folder / "sentinel.conf"
        configuration.write_text("\n".join(lines))
        return [str(configuration), "--sentinel", "--dir", str(self.folder)]


class RedisWithSentinel:
    """A master `tokens`, its replica, and one sentinel, who alone decides."""

    def __init__(self, password: str = "") -> None:
        self.master = RedisServer("--repl-diskless-sync-delay", "0", has_port=True)
        self.replica = RedisServer("--replicaof", "127.0.0.1", str(self.master.port), has_port=True)
        self.sentinel = SentinelServer(self.master.port, password)

    @property
    def url(self) -> str:
        return f"tokens,{self.sentinel.address}"

    def start(self) -> RedisWithSentinel:
        self.master.start()
        self.replica.start()
        wait_until(lambda: b"master_link_status:up" in self.replica.ask("INFO", "replication"), "the replica follows")
        self.restart_sentinel()
        return self

    def restart_sentinel(self) -> None:
        self.sentinel.start()
        wait_until(self._knows_replica, "the sentinel knows the replica")

    def _knows_replica(self) -> bool:
        replicas = self.sentinel.ask("SENTINEL", "REPLICAS", "tokens")
        return bool(replicas) and b"master-link-status" in replicas[0] and b"ok" in replicas[0]

    def remove(self) -> None:
        for server in (self.sentinel, self.replica, self.master):
            server.remove()


def _held(server: RedisServer) -> tuple[int, int]:
    """Return the range of slots that a node of a whole cluster holds."""
    for first, last, (_, port, *_), *_ in server.ask("CLUSTER", "SLOTS"):
        if port == server.port:
            return first, last
    raise AssertionError(f"{server.address} holds no slots")


def _has_slot(ranges: list[Any], slot: int) -> bool:
    return any(first <= slot <= last for first, last, *_ in ranges)


def _raise_lost() -> bytes:
    raise ConnectionError


def _binary() -> str:
    return shutil.which("redis-server") or shutil.which("valkey-server") or "redis-server"
