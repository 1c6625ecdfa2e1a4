"""The overlay file: layers of our keys, every problem with its line.

overlays:
- domain: default/*/http
rate_limit: { on_deny: keep, on_store_error: { local: 0.25 } }
- domain: default/*/http
path: [{ key: "*rule/0*" }, { key: tenant, value: "*" }]
rate_limit: { window: 5h, reserve: { ttl: 120s } }
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ratelimit.errors import ConfigError, Problem
from ratelimit.overlay import Layer, Overlay
from ratelimit.specs import OWN_KEYS, Own, Where
from serving.yaml_models import PlainYaml
from serving.yaml_nodes import Bounds, DocumentError, compose

_TOP = "overlays"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Step(_Model):
    key: str = Field(min_length=1)
    value: str = "*"


class _Layer(_Model):
    domain: str = Field(min_length=1)
    path: list[_Step] = []
    hash_tag: list[str] = []
    rate_limit: dict[str, Any] = {}


def load(path: Path, bytes_max: int, bounds: Bounds) -> Overlay:
    """Return the overlay that a file holds.

    Raises:
        ConfigError: it cannot be read or used; it carries every problem.
    """
    try:
        with path.open("rb") as file:
            content = file.read(bytes_max + 1)
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, f"cannot be read: {error.strerror}")]) from None
    if len(content) > bytes_max:
        raise ConfigError([Problem(str(path), 0, f"more than {bytes_max} bytes (CONFIG_BYTES_MAX)")])
    return read(str(path), content, bounds)


def read(file: str, content: bytes, bounds: Bounds) -> Overlay:
    """Return the overlay that a text holds.

    Raises:
        ConfigError: it cannot be used; it carries every problem.
    """
    plain = PlainYaml(file)
    try:
        root = compose(content, bounds)
    except DocumentError as error:
        raise ConfigError([Problem(file, error.line, str(error))]) from None
    value = plain.value(root, ()) if root is not None else {}
    layers = value.get(_TOP) if isinstance(value, dict) else None
    if not isinstance(layers, list) or len(value) > 1:
        raise ConfigError([*plain.problems, Problem(file, 1, f"needs a list under `{_TOP}`, and nothing beside it")])
    found = [_layer(plain, file, index, each) for index, each in enumerate(layers)]
    if plain.problems:
        raise ConfigError(plain.problems)
    return Overlay([layer for layer in found if layer is not None])


def _layer(plain: PlainYaml, file: str, index: int, value: object) -> Layer | None:
    place = (_TOP, index)
    try:
        model = _Layer.model_validate(value)
    except ValidationError as error:
        plain.problems += [plain.blame(place, dict(each)) for each in error.errors(include_url=False)]
        return None
    own = _own(plain, file, (*place, "rate_limit"), model.rate_limit)
    path = tuple((step.key, step.value) for step in model.path)
    return Layer(Where(file, plain.line(place)), model.domain, own, path, tuple(model.hash_tag))


def _own(plain: PlainYaml, file: str, place: tuple[str | int, ...], keys: Mapping[str, Any]) -> dict[str, Own]:
    own = {}
    for key, value in keys.items():
        line = plain.line((*place, key))
        if key not in OWN_KEYS:
            plain.problems.append(Problem(file, line, f"rate_limit: '{key}' is no key of an overlay"))
        own[key] = Own(Where(file, line), value)
    return own
