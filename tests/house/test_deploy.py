"""What operators copy: every file can be read, is complete, and sets only what exists, to values that are taken."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.settings_tables import groups
from ratelimit import settings
from ratelimit.config import overlay_file
from ratelimit.config.callers import load as load_callers
from ratelimit.config.files import check
from ratelimit.rights import Role
from ratelimit.specs import DomainSpec
from ratelimit.tree import build
from semcache import settings as cache_settings
from semcache.config.files import load
from serving.environment import names_of
from serving.settings import Group
from serving.yaml_nodes import Bounds
from tests.fakes.rules import HERE, limit, node
from tests.house.sources import ROOT, name

BOUNDS = Bounds(1_000, 50)

DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "weir"
FILES = sorted(path for path in DEPLOY.rglob("*.yaml") if path.parent != CHART / "templates")
MANIFESTS = [path for path in FILES if "\nkind: " in path.read_text()]

# What a kind is nothing without, by path; of a list, each item.
NEEDED = {
    "AIGatewayRoute": ["spec.parentRefs.name", "spec.rules.backendRefs.name", "spec.llmRequestCosts.metadataKey"],
    "AgentgatewayPolicy": ["spec.targetRefs.kind", "spec.traffic.rateLimit.global.backendRef.port"],
    "BackendTrafficPolicy": ["spec.targetRefs.kind", "spec.rateLimit.global.rules.limit.unit"],
    "Deployment": ["spec.selector.matchLabels", "spec.template.spec.containers.image"],
    "EnvoyFilter": ["spec.configPatches.applyTo", "spec.configPatches.patch.operation", "spec.configPatches.match"],
    "GatewayExtension": ["spec.type", "spec.rateLimit.grpcService.backendRef.port", "spec.rateLimit.domain"],
    "PodDisruptionBudget": ["spec.minAvailable", "spec.selector.matchLabels"],
    "ReferenceGrant": ["spec.from.kind", "spec.to.kind"],
    "Service": ["spec.selector", "spec.ports.port"],
    "ConfigMap": ["data"],
    "StatefulSet": ["spec.serviceName", "spec.template.spec.containers.image", "spec.volumeClaimTemplates.spec"],
    "TrafficPolicy": ["spec.targetRefs.kind", "spec.rateLimit.global.extensionRef.name"],
}

# What Envoy Gateway sets in its deployment, and to what.
ENVOY_GATEWAY = {
    "CONFIG_TYPE": "GRPC_XDS_SOTW",
    "CONFIG_GRPC_XDS_SERVER_URL": "envoy-gateway:18001",
    "CONFIG_GRPC_XDS_NODE_ID": "envoy-ratelimit",
    "CONFIG_GRPC_XDS_SERVER_USE_TLS": "true",
    "CONFIG_GRPC_XDS_CLIENT_TLS_CERT": "/certs/tls.crt",
    "CONFIG_GRPC_XDS_CLIENT_TLS_KEY": "/certs/tls.key",
    "CONFIG_GRPC_XDS_SERVER_TLS_CACERT": "/certs/ca.crt",
    "GRPC_SERVER_USE_TLS": "true",
    "GRPC_SERVER_TLS_CERT": "/certs/tls.crt",
    "GRPC_SERVER_TLS_KEY": "/certs/tls.key",
    "GRPC_SERVER_TLS_CA_CERT": "/certs/ca.crt",
    "FORCE_START_WITHOUT_INITIAL_CONFIG": "true",
    "REDIS_SOCKET_TYPE": "tcp",
    "REDIS_URL": "redis.redis-system:6379",
    "RUNTIME_ROOT": "/data",
    "RUNTIME_SUBDIRECTORY": "ratelimit",
    "RUNTIME_IGNOREDOTFILES": "true",
    "RUNTIME_WATCH_ROOT": "false",
    "USE_PROMETHEUS": "true",
    "PROMETHEUS_ADDR": ":19001",
    "LOG_LEVEL": "info",
    "USE_STATSD": "false",
}


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


def environments(node: Any) -> Iterator[Mapping[str, str]]:
    """Find what Kubernetes (`env`, a list) and compose (`environment`, a map) set for a service of ours."""
    match node:
        case {"env": list(pairs)}:
            # What comes from a Secret is not here; any text stands for it.
            yield {pair["name"]: pair.get("value", "secret:1") for pair in pairs}
        case {"environment": dict(pairs)}:
            yield pairs
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    for child in children:
        yield from environments(child)


def found(node: Any, path: str) -> bool:
    """Return whether something is at a path, in every item where there are several."""
    if isinstance(node, list):
        return bool(node) and all(found(item, path) for item in node)
    key, _, rest = path.partition(".")
    return isinstance(node, dict) and key in node and (not rest or found(node[key], rest))


SET = [(name(path), dict(each)) for path in FILES for document in documents(path) for each in environments(document)]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_file_can_be_read_and_says_what_it_is_for(path: Path) -> None:
    assert documents(path)
    assert path.read_text().startswith("# ")
    assert ":latest" not in path.read_text()


@pytest.mark.parametrize("path", MANIFESTS, ids=name)
def test_every_manifest_has_what_its_kind_needs(path: Path) -> None:
    for document in documents(path):
        needed = ["apiVersion", "metadata.name", *NEEDED[document["kind"]]]
        missing = [each for each in needed if not found(document, each)]

        assert missing == []


@pytest.mark.parametrize(
    "environment", [ENVOY_GATEWAY, *(each for _, each in SET)], ids=["Envoy Gateway's own", *(path for path, _ in SET)]
)
def test_what_is_set_exists_and_is_taken(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    is_cache = "SEMCACHE_NAMESPACES_PATH" in environment
    known = names_of(settings.GROUPS) | (names_of(groups(cache_settings)) if is_cache else {})
    for set_here in os.environ.keys() & known.keys():
        monkeypatch.delenv(set_here)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)

    (cache_settings if is_cache else settings).load()

    assert environment.keys() <= known.keys()


def test_services_of_ours_are_set_up_there() -> None:
    where = {path for path, _ in SET}

    assert {
        "deploy/compose/compose.yaml",
        "deploy/envoy-ai-gateway/quota-service.yaml",
        "deploy/envoy-gateway/values.yaml",
        "deploy/helm/weir/values.yaml",
        "deploy/semcache/fleet.yaml",
        "deploy/semcache/single.yaml",
    } <= where


def test_what_is_mounted_by_the_compose_file_exists() -> None:
    (compose,) = documents(DEPLOY / "compose" / "compose.yaml")
    mounts = [mount.split(":")[0] for service in compose["services"].values() for mount in service.get("volumes", [])]
    files = [mount for mount in mounts if mount.startswith(".")]

    assert len(files) == 3
    assert all((DEPLOY / "compose" / file).exists() for file in files)
    assert {*mounts} - {*files} == compose["volumes"].keys()


def test_istio_is_given_what_was_run_with_a_real_envoy() -> None:
    (envoy,) = documents(DEPLOY / "envoy" / "token-budgets.yaml")
    manager = envoy["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (istio,) = documents(DEPLOY / "istio" / "token-budgets.yaml")
    patches = istio["spec"]["configPatches"]
    filters = [patch["patch"]["value"] for patch in patches if patch["applyTo"] == "HTTP_FILTER"]
    (host,) = [patch["patch"]["value"] for patch in patches if patch["applyTo"] == "VIRTUAL_HOST"]
    service = filters[-1]["typed_config"]["rate_limit_service"]["grpc_service"]["envoy_grpc"]
    service["cluster_name"] = "ratelimit"

    routes = manager["route_config"]

    assert [*filters, manager["http_filters"][-1]] == manager["http_filters"]
    assert host["typed_per_filter_config"] == routes["virtual_hosts"][0]["typed_per_filter_config"]
    assert host["request_headers_to_remove"] == routes["request_headers_to_remove"]


def test_the_namespaces_of_the_cache_can_be_loaded(tmp_path: Path) -> None:
    config = documents(DEPLOY / "semcache" / "single.yaml")[0]
    (tmp_path / "namespaces.yaml").write_text(config["data"]["namespaces.yaml"])

    assert load(tmp_path, cache_settings.NamespaceSettings()).find("support") is not None


def test_the_overlay_reaches_the_rules_of_the_gateway() -> None:
    (config,) = documents(DEPLOY / "envoy-gateway" / "overlay.yaml")
    layers = overlay_file.read("overlay.yaml", config["data"]["overlay.yaml"].encode(), BOUNDS)
    route = "httproute/default/llm/rule/0/match/0/*"
    made = node(route, route, limit("rule-0-match-0")), node("another", "another", limit("rule-0-match-0"))
    rules = build(layers.lay([DomainSpec(HERE, "default/eg/http", made)])).domains["default/eg/http"].rules()

    assert [rule.modes.is_kept for rule in rules] == [True, True]
    assert [rule.modes.reserve is not None for rule in rules] == [True, False]


def test_kuadrants_callers_and_rules_can_be_loaded(tmp_path: Path) -> None:
    config = documents(DEPLOY / "kuadrant" / "token-budget.yaml")[1]
    for file, text in config["data"].items():
        (tmp_path / file).write_text(text)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules.yaml").rename(tmp_path / "rules" / "rules.yaml")
    callers = load_callers(tmp_path / "callers.yaml")

    assert [caller.allows(Role.SETTLE, "default/llm") for caller in callers] == [True]
    assert check(tmp_path / "rules", merge=False) == []


def test_the_chart_asks_only_for_values_that_it_has() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    asked = {
        path
        for template in (CHART / "templates").iterdir()
        for path in re.findall(r"\.Values\.([\w.]+)", template.read_text())
    }

    assert len(asked) > 20
    assert [path for path in sorted(asked) if not found(values, path)] == []


@pytest.mark.parametrize(
    ("template", "known"),
    [("deployment.yaml", settings.GROUPS), ("semcache.yaml", cache_settings.GROUPS)],
    ids=["ratelimit", "semcache"],
)
def test_the_chart_sets_only_settings_that_exist(template: str, known: Sequence[type[Group]]) -> None:
    names = re.findall(r"\{ name: ([A-Z_]+), value", (CHART / "templates" / template).read_text())

    assert len(names) > 10
    assert [each for each in names if each not in names_of(known)] == []


def test_the_namespaces_of_the_chart_can_be_loaded(tmp_path: Path) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    (tmp_path / "namespaces.yaml").write_text(values["semcache"]["namespaces"])

    assert load(tmp_path, cache_settings.NamespaceSettings()).find("support") is not None


def test_every_alert_can_be_acted_on() -> None:
    (alerts,) = documents(DEPLOY / "prometheus" / "alerts.yaml")
    rules = [rule for group in alerts["groups"] for rule in group["rules"]]

    assert len({rule["alert"] for rule in rules}) == len(rules) > 0
    assert {rule["labels"]["severity"] for rule in rules} == {"page", "ticket"}
    assert all(rule["annotations"].keys() == {"summary", "description"} for rule in rules)


@pytest.mark.parametrize(("name", "chosen"), [("ratelimit", "domain"), ("semcache", "namespace")])
def test_a_dashboard_has_a_question_in_every_panel(name: str, chosen: str) -> None:
    dashboard = json.loads((DEPLOY / "grafana" / f"{name}.json").read_text())

    assert all(panel["title"] and panel["description"] and panel["targets"] for panel in dashboard["panels"])
    assert {variable["name"] for variable in dashboard["templating"]["list"]} == {"datasource", "job", chosen}
