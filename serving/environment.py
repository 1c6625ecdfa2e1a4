"""What an environment says in vain: names that do nothing here, and names that look like misspelt ones.

1. A setting whose manual begins with "Not used:" is the reference's, accepted for its sake.
2. A name that nearly is a setting's is a slip, and so is an unknown one under a prefix that is ours alone.
3. What Kubernetes sets for its services (`REDIS_SERVICE_HOST`, `REDIS_PORT_6379_TCP`) is neither.
4. Values are never told: they may be secrets.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches

from serving.settings import Group

NOT_USED = "Not used: "
_OF_KUBERNETES = re.compile(r".*(_SERVICE_HOST|_SERVICE_PORT(_.+)?|_PORT|_PORT_\d+_(TCP|UDP|SCTP)(_.+)?)")

# How alike two names are (difflib): one letter of ten more, less or changed is above it.
_ALIKE = 0.88


def names_of(groups: Iterable[type[Group]]) -> dict[str, str]:
    """Return every variable that groups of settings read, with its manual."""
    return {
        f"{group.model_config.get('env_prefix', '')}{field}".upper(): info.description or ""
        for group in groups
        for field, info in group.model_fields.items()
    }


def remarks(
    environment: Collection[str], known: Mapping[str, str], *, prefixes: Collection[str], absent: Mapping[str, str]
) -> list[str]:
    """List what an operator should hear about the names in an environment.

    `prefixes` are ours alone; `absent` says for the reference's other prefixes what we do not have.
    """
    names = sorted(map(str.upper, environment))
    idle = [(name, known[name]) for name in names if known.get(name, "").startswith(NOT_USED)]
    idle += [(name, why) for name in names for prefix, why in absent.items() if name.startswith(prefix)]
    said = "; ".join(f"{name} ({why.removeprefix(NOT_USED).rstrip('.')})" for name, why in idle)
    unread = [name for name in names if name not in known and not name.startswith(tuple(absent))]
    strange = [name for name in unread if not _OF_KUBERNETES.fullmatch(name)]
    slips = [remark for name in strange if (remark := _remark(name, known, prefixes))]
    return [f"settings that do nothing here: {said}", *slips] if said else slips


def _remark(name: str, known: Mapping[str, str], prefixes: Collection[str]) -> str:
    meant = get_close_matches(name, known, 1, _ALIKE)
    if meant:
        return f"{name} is no setting; is {meant[0]} meant?"
    return f"{name} is no setting" if name.startswith(tuple(prefixes)) else ""
