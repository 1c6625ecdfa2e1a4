from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ratelimit import settings

DEPLOY = Path(__file__).parents[3] / "deploy"
FILES = sorted(DEPLOY.rglob("*.yaml"))


def known() -> set[str]:
    groups = [
        value for value in vars(settings).values() if isinstance(value, type) and issubclass(value, settings.Group)
    ]
    return {
        f"{group.model_config.get('env_prefix') or ''}{name}".upper() for group in groups for name in group.model_fields
    }


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


def environments(node: Any) -> Iterator[dict[str, str]]:
    """Find what Kubernetes (`env`, a list) and compose (`environment`, a map) set for a service of ours."""
    match node:
        case {"env": list(pairs)}:
            yield {pair["name"]: pair["value"] for pair in pairs}
        case {"environment": dict(pairs)}:
            yield pairs
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    for child in children:
        yield from environments(child)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_file_can_be_read_and_says_what_it_is_for(path: Path) -> None:
    assert documents(path)
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_only_settings_that_exist_are_set(path: Path) -> None:
    names = {name for document in documents(path) for found in environments(document) for name in found}

    assert names <= known()


@pytest.mark.parametrize(
    "name", ["compose/compose.yaml", "envoy-gateway/values.yaml", "envoy-ai-gateway/quota-service.yaml"]
)
def test_a_service_of_ours_is_set_up_there(name: str) -> None:
    assert any(found for document in documents(DEPLOY / name) for found in environments(document))


def test_what_is_mounted_by_the_compose_file_exists() -> None:
    (compose,) = documents(DEPLOY / "compose" / "compose.yaml")
    mounts = [mount.split(":")[0] for service in compose["services"].values() for mount in service.get("volumes", [])]

    assert len(mounts) == 2
    assert all((DEPLOY / "compose" / mount).exists() for mount in mounts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_nobody_is_made_to_trust_a_tag_that_moves(path: Path) -> None:
    assert ":latest" not in path.read_text()
