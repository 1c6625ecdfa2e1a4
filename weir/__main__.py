"""The command `weir`."""

from __future__ import annotations

import click

from weir.commands import calibrate, check, check_config, export_model, run, serve


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
    Examples:
      weir run                                everything on this machine, behind a real Envoy
      weir serve ratelimit                    the service alone, set up by its environment
      weir check-config rules/                are these rules right?
      weir check --domain llm user=alice      what is left?
      weir export-model                       have an embedding model as ONNX
      weir calibrate pairs.jsonl              which target error can the cache keep?
    """,
)
@click.version_option(package_name="weir")
def main() -> None:
    """Token rate limits for AI gateways."""


for command in (
    run.run,
    serve.serve,
    check_config.check_config,
    check.check,
    calibrate.calibrate,
    export_model.export_model,
):
    main.add_command(command)

if __name__ == "__main__":  # pragma: no cover - tests/e2e runs it as a process
    main(prog_name="weir")
