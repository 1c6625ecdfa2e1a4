"""The vectors as values: suites, scenarios and config cases read from `vectors/*.yaml`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

FOLDER = Path(__file__).parent / "vectors"
STORE_STEPS = frozenset({"redis_keys", "redis_ttl", "redis_set", "redis_call", "store_link"})

Step: TypeAlias = Mapping[str, Any]
Settings: TypeAlias = tuple[tuple[str, str], ...]


# Ten times as fast where PyYAML was built with libyaml; every test run reads all vectors.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Dumper(yaml.SafeDumper):
    """Quotes what some YAML reader, though not PyYAML, takes for a boolean or a number."""


Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^[yYnN]$"), list("yYnN"))
Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?[\d.]+[eE]\d+$"), list("-+.0123456789"))


@dataclass(frozen=True)
class Scenario:
    suite: str
    settings: Settings
    id: str
    title: str
    files: Mapping[str, str]
    steps: tuple[Step, ...]
    is_isolated: bool = False
    has_usable_config: bool = True

    @property
    def domain(self) -> str:
        """The domain of steps that name none."""
        return next(iter(self.domains), self.id)

    @property
    def domains(self) -> tuple[str, ...]:
        """Every domain in the config and the requests, those of the config first."""
        bodies = (step["http"].get("body") for step in self.steps if "http" in step)
        asked = [step["request"] for step in self.steps if "request" in step] + list(bodies)
        named = [_domain(text) for text in self.files.values()]
        named += [question.get("domain", "") for question in asked if isinstance(question, dict)]
        return tuple(dict.fromkeys(filter(None, named)))

    @property
    def has_store_steps(self) -> bool:
        return any(STORE_STEPS & step.keys() for step in self.steps)

    def has_step(self, kind: str) -> bool:
        return any(kind in step for step in self.steps)

    def has_unit(self, unit: str) -> bool:
        """Say whether a rule or an override of this scenario is per `unit`."""
        return re.search(rf"\bunit'?: '?{unit}\b", f"{dict(self.files)} {self.steps}", re.IGNORECASE) is not None


@dataclass(frozen=True)
class Case:
    suite: str
    settings: Settings
    id: str
    title: str
    files: Mapping[str, str]
    error: str | None
    """None: the files are accepted."""


def load(folder: Path = FOLDER) -> tuple[Scenario | Case, ...]:
    """Read every suite of `folder`."""
    suites = (yaml.load(path.read_bytes(), Loader=_Loader) for path in sorted(folder.glob("*.yaml")))
    return tuple(vector for suite in suites for vector in _read(suite))


def dump(document: Any) -> str:
    """Write a document as YAML; text stays as it is."""
    if isinstance(document, str):
        return document
    return yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=4096)


def file_name(name: str) -> str:
    return name if "." in name or "/" in name else f"{name}.yaml"


def named(documents: Mapping[str, Any]) -> dict[str, str]:
    """Make file names and contents of a map of name to document."""
    return {file_name(name): dump(document) for name, document in documents.items()}


def _read(suite: Mapping[str, Any]) -> Iterator[Scenario | Case]:
    if suite["format"] != "rls-conformance/1":
        raise ValueError(f"{suite['suite']}: unknown format {suite['format']}")
    settings = tuple(sorted(suite.get("settings", {}).items()))
    for raw in suite.get("scenarios", ()):
        yield Scenario(
            suite=suite["suite"],
            settings=settings,
            id=raw["id"],
            title=raw["title"],
            files=named(_documents(raw["id"], raw.get("config"))),
            steps=tuple(raw["steps"]),
            is_isolated=raw.get("isolated", False),
            has_usable_config=not raw.get("no_config", False),
        )
    for raw in suite.get("cases", ()):
        files = named(raw["files"])
        yield Case(
            suite["suite"], settings, raw["id"], raw["title"], files, None if "accepted" in raw else raw["error"]
        )


def _documents(scenario: str, config: Any) -> Mapping[str, Any]:
    match config:
        case None:
            return {}
        case list():
            return {f"{scenario}-{number}": document for number, document in enumerate(config)}
        case dict() if "domain" not in config and "descriptors" not in config:
            return config
        case _:
            return {scenario: config}


def _domain(text: str) -> str:
    # By pattern, since some documents are no YAML on purpose.
    found = re.search(r"^domain: *(.*)$", text, re.MULTILINE)
    return found[1].strip("'\" ") if found else ""
