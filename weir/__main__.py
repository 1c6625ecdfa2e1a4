"""The command `weir`."""

from __future__ import annotations

import click

from weir.commands import (
    ask,
    cache,
    calibrate,
    check,
    check_config,
    counters,
    explain,
    export_model,
    limits,
    lookup,
    run,
    serve,
    store,
    top,
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
    Examples:
      weir run                                everything on this machine, behind a real Envoy
      weir serve ratelimit                    the service alone, set up by its environment
      weir check-config rules/                are these rules right?
      weir check --domain llm user=alice      what is left?
      weir explain --domain llm user=alice    which rule, and why?
      weir top                                who spends most?
      weir limits list                        whose limits were changed?
      weir export-model                       have an embedding model as ONNX
      weir calibrate pairs.jsonl              which target error can the cache keep?
      weir lookup --tenant acme "What is …?"  has this been answered?
      weir cache stats                        how does the cache do?
    """,
)
@click.version_option(package_name="weir")
def main() -> None:
    """Token rate limits and a semantic cache for AI gateways."""


COMMANDS = (
    *(run.run, serve.serve, check_config.check_config, check.check),
    *(explain.explain, top.top, counters.counters, limits.limits),
    *(ask.ask, lookup.lookup, store.store, cache.cache),
    *(calibrate.calibrate, export_model.export_model),
)
for command in COMMANDS:
    main.add_command(command)

if __name__ == "__main__":  # pragma: no cover - tests/e2e runs it as a process
    main(prog_name="weir")
