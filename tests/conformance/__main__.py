"""Judge any server of Envoy's rate limit protocol by the vectors.

Without `--target` the runner starts servers itself, one for each set of settings: ours, or those of
`--command`, which get the environment that README.md describes. With `--target` it asks a server that
runs already, and what the options do not reach is reported as not run.

    python -m tests.conformance --store memory
    python -m tests.conformance --command /usr/bin/ratelimit --compat
    python -m tests.conformance --target host:8081 --http host:8080 --debug host:6070 --redis host:6379 \\
        --config-dir /srv/config --statsd-port 8125 --setting SHADOW_MODE=true
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.conformance.background import Background
from tests.conformance.client import Client
from tests.conformance.groups import Group, groups, without_store_steps
from tests.conformance.launch import OUR_COMMAND, Start, launch, running_stores, wait_until_loaded
from tests.conformance.processes import redis_client
from tests.conformance.report import Outcome, Report
from tests.conformance.runner import base_files, run_case, run_scenario
from tests.conformance.suites import Case, Scenario, load
from tests.conformance.target import Target
from tests.conformance.tree import Folder
from tests.fakes.statsd import Statsd


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for and print a table; 0 if nothing failed."""
    options = _parser().parse_args(arguments)
    report = Report()
    chosen = [vector for vector in load() if _is_chosen(vector, options)]
    for outcome in _run_target(options, chosen) if options.target else _run_servers(options, chosen):
        report.add(outcome)
    print(report.table())  # noqa: T201 - a command's answer
    return 1 if report.has_failures or not report.has_passes else 0


def _run_servers(options: argparse.Namespace, vectors: Sequence[Scenario | Case]) -> Iterator[Outcome]:
    command = tuple(shlex.split(options.command)) if options.command else OUR_COMMAND
    is_memory = options.store == "memory"
    with contextlib.ExitStack() as stack:
        stores = None if is_memory else stack.enter_context(running_stores())
        for group in groups(without_store_steps(vectors) if is_memory else vectors):
            start = Start(
                settings=group.settings,
                files=group.files,
                has_usable_config=group.has_usable_config,
                stores=stores,
                transport=options.transport,
                command=command,
            )
            yield from _run_server(start, group, options)


def _run_server(start: Start, group: Group, options: argparse.Namespace) -> Iterator[Outcome]:
    try:
        with launch(start) as target:
            yield from _run_all(target, group.vectors, options)
    except RuntimeError as error:
        for number, vector in enumerate(group.vectors):
            reason = f": {error}" if number == 0 else ", as above"
            yield Outcome(vector.suite, vector.id, problems=[f"the server did not start{reason}"])


def _run_target(options: argparse.Namespace, vectors: Sequence[Scenario | Case]) -> Iterator[Outcome]:
    settings = tuple(sorted(tuple(setting.split("=", 1)) for setting in options.setting))
    with _reach(options) as target:
        for group in groups(vectors):
            if group.is_isolated or group.settings != settings:
                needed = "a server of its own" if group.is_isolated else f"a server with {dict(group.settings)}"
                yield from (Outcome(vector.suite, vector.id, not_run=f"needs {needed}") for vector in group.vectors)
                continue
            with _files(target, group.files):
                yield from _run_all(target, group.vectors, options)


@contextlib.contextmanager
def _files(target: Target, files: Mapping[str, str]) -> Iterator[None]:
    """Add files to a server that runs, wait until they are in force, and take them away at the end."""
    if target.folder is None:
        yield
        return
    # A domain that no earlier run has left behind.
    mark = f"conformance-{secrets.token_hex(4)}"
    target.folder.write(files)
    target.folder.write(base_files(mark))
    try:
        wait_until_loaded(target, mark)
        yield
    finally:
        target.folder.remove([*files, *base_files(mark)])


@contextlib.contextmanager
def _reach(options: argparse.Namespace) -> Iterator[Target]:
    with contextlib.ExitStack() as stack:
        client = Client(options.target)
        stack.callback(client.close)
        target = Target(client, main=options.http, debug=options.debug, metrics=options.metrics)
        given = {"main": options.redis, "per_second": options.redis_per_second}
        addresses = {name: address.rsplit(":", 1) for name, address in given.items() if address}
        target.stores = {
            name: stack.enter_context(redis_client(int(port), host)) for name, (host, port) in addresses.items()
        }
        if options.config_dir:
            target.folder = Folder(options.config_dir, options.config_dir.parent / ".conformance-staging")
        if options.log:
            target.read_log = lambda: options.log.read_text(encoding="utf-8", errors="replace")
        if options.statsd_port:
            background = Background()
            background.start()
            stack.callback(background.stop)
            target.statsd = Statsd()
            background.call(target.statsd.start("0.0.0.0", options.statsd_port))  # the target may be elsewhere
            stack.callback(lambda: background.call(target.statsd.stop()) if target.statsd else None)
        yield target


def _run_all(target: Target, vectors: Iterable[Scenario | Case], options: argparse.Namespace) -> Iterator[Outcome]:
    for vector in vectors:
        if isinstance(vector, Case):
            has_means = target.folder is not None and target.read_log is not None
            yield (
                Outcome(vector.suite, vector.id, problems=run_case(target, vector))
                if has_means
                else Outcome(vector.suite, vector.id, not_run="needs --config-dir and --log")
            )
        elif missing := target.missing(vector):
            yield Outcome(vector.suite, vector.id, not_run=f"needs {missing}")
        else:
            problems = run_scenario(target, vector, is_compat=options.compat)
            yield Outcome(vector.suite, vector.id, problems=problems)


def _is_chosen(vector: Scenario | Case, options: argparse.Namespace) -> bool:
    return (not options.suite or vector.suite in options.suite) and options.only in vector.id


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--suite", action="append", default=[], help="only this suite; may be repeated")
    add("--only", default="", metavar="TEXT", help="only vectors whose id contains this")
    add("--compat", action="store_true", help="accept what the reference answers, too")
    own = parser.add_argument_group("servers that the runner starts")
    own.add_argument("--command", default="", help="what starts a server under the reference's environment")
    own.add_argument("--store", choices=("redis", "memory"), default="redis", help="where counters live")
    own.add_argument("--transport", default="front", help="TRANSPORT of our server")
    foreign = parser.add_argument_group("a server that runs")
    foreign.add_argument("--target", metavar="HOST:PORT", help="its gRPC port")
    foreign.add_argument("--http", metavar="HOST:PORT", help="its HTTP port")
    foreign.add_argument("--debug", metavar="HOST:PORT", help="its debug port")
    foreign.add_argument("--metrics", metavar="HOST:PORT", help="its Prometheus port")
    foreign.add_argument("--redis", metavar="HOST:PORT", help="the Redis it counts in; counters are removed")
    foreign.add_argument("--redis-per-second", metavar="HOST:PORT", help="that of limits per second")
    foreign.add_argument("--config-dir", type=Path, help="the folder of its rules; files are added")
    foreign.add_argument("--log", type=Path, help="the file of its log")
    foreign.add_argument("--statsd-port", type=int, help="where the runner listens for its counters")
    foreign.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE", help="a setting it runs with")
    return parser


if __name__ == "__main__":
    sys.exit(main())
