"""`weir check-config`: are these rules right?"""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command(
    "check-config",
    epilog="""\b
    Examples:
      weir check-config rules/
      weir check-config --merge-domain-config rules/    several files of one domain
    """,
)
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--merge-domain-config", is_flag=True, help="Several files may add rules to one domain.")
def check_config(directory: Path, merge_domain_config: bool) -> None:  # noqa: FBT001 - click passes options by name
    """Check all rule files of DIRECTORY and print every problem with its file and line.

    Exits with 0 if there is none, and with 1 otherwise.
    """
    # Imported here: the other commands do without the service's dependencies.
    from ratelimit.config.files import check, list_files  # noqa: PLC0415
    from ratelimit.settings import ConfigSettings  # noqa: PLC0415

    problems = check(directory, merge=merge_domain_config)
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        sys.exit(1)
    if not list_files(directory, ignore_dotfiles=False, files_max=ConfigSettings().config_files_max).files:
        click.echo(f"{directory}: there are no files in it", err=True)
    click.echo("all rate limit configs ok")
