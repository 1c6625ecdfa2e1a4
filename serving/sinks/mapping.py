"""PROMETHEUS_MAPPER_YAML: rules from dotted names to series, in the words of statsd_exporter.

    mappings:
      - match: ratelimit.service.rate_limit.*.*.over_limit
        name: over_limit_total
        labels: {domain: $1, key: $2}

1. `*` of a glob stands for one part between dots; `match_type: regex` fits the whole name. `$1` is what the first
   star or group stood for.
2. Globs come before regular expressions, and among either the first that fits is used; `action: drop` drops.
3. What no rule fits goes by the built-in ones, and what those do not know under its own name.
4. Words about summaries, buckets and life are accepted and do nothing: a histogram has its own bounds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from serving.settings import SettingsError
from serving.sinks.names import series_name

# A ConfigMap holds no more.
_FILE_BYTES_MAX = 1024 * 1024
_REFERENCE = re.compile(r"\$\{?(\d+)\}?")
_KINDS = {"counter": "counter", "gauge": "gauge", "observer": "timer", "timer": "timer", "": ""}


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a dotted name is called on the page."""

    series: str
    labels: dict[str, str] = field(default_factory=dict)


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    match: str
    name: str = ""
    match_type: Literal["glob", "regex", ""] = ""
    action: Literal["map", "drop", ""] = ""
    labels: dict[str, str] = Field(default_factory=dict)
    match_metric_type: Literal["counter", "gauge", "observer", "timer", ""] = ""
    help: str = ""
    timer_type: str = ""
    observer_type: str = ""
    ttl: str | int = ""
    scale: float | None = None
    honor_labels: bool = False
    buckets: list[float] = Field(default_factory=list)
    quantiles: list[Any] = Field(default_factory=list)
    histogram_options: dict[str, Any] = Field(default_factory=dict)
    summary_options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("labels", mode="before")
    @classmethod
    def _as_text(cls, labels: object) -> object:
        return {key: str(value) for key, value in labels.items()} if isinstance(labels, dict) else labels


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    defaults: dict[str, Any] = Field(default_factory=dict)
    mappings: list[_Rule] = Field(default_factory=list)


class Mapper:
    """The rules of one file."""

    def __init__(self, file: _File) -> None:
        usual = str(file.defaults.get("match_type") or "glob")
        kinds = [rule.match_type or usual for rule in file.mappings]
        globs = [rule for rule, kind in zip(file.mappings, kinds, strict=True) if kind == "glob"]
        others = [rule for rule, kind in zip(file.mappings, kinds, strict=True) if kind != "glob"]
        self._rules = [(_glob(rule.match), rule) for rule in globs] + [
            (re.compile(rule.match), rule) for rule in others
        ]

    def find(self, name: str, kind: str) -> Mapped | Literal["drop"] | None:
        """Return what a name of a kind (`counter`, `gauge`, `timer`) is called; None where no rule fits."""
        for pattern, rule in self._rules:
            if _KINDS[rule.match_metric_type] in {"", kind} and (found := pattern.fullmatch(name)):
                if rule.action == "drop":
                    return "drop"
                labels = {key: _fill(value, found) for key, value in rule.labels.items()}
                return Mapped(series_name(_fill(rule.name, found)), labels)
        return None


def _glob(match: str) -> re.Pattern[str]:
    return re.compile("([^.]*)".join(re.escape(part) for part in match.split("*")))


def _fill(template: str, found: re.Match[str]) -> str:
    groups = found.groups("")
    return _REFERENCE.sub(lambda ref: groups[int(ref[1]) - 1] if 0 < int(ref[1]) <= len(groups) else "", template)


def read_mapper(path: str) -> Mapper:
    """Read the file that PROMETHEUS_MAPPER_YAML names.

    Raises:
        SettingsError: it cannot be used; the place in it is named.
    """
    try:
        with Path(path).open("rb") as file:
            text = file.read(_FILE_BYTES_MAX + 1)
        if len(text) > _FILE_BYTES_MAX:
            raise SettingsError(f"PROMETHEUS_MAPPER_YAML: {path}: more than {_FILE_BYTES_MAX} bytes")
        return Mapper(_File.model_validate(yaml.safe_load(text) or {}))
    except OSError as error:
        raise SettingsError(f"PROMETHEUS_MAPPER_YAML: {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"PROMETHEUS_MAPPER_YAML: {path}: {error}") from None
    except re.error as error:
        raise SettingsError(f"PROMETHEUS_MAPPER_YAML: {path}: '{error.pattern!s}': {error}") from None
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise SettingsError(f"PROMETHEUS_MAPPER_YAML: {path}: {problems}") from None
