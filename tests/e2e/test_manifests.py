"""What manifests hand to somebody else's Envoy is taken by a real one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import yaml

from weir.demo.envoy import find_envoy

KUADRANT = Path(__file__).parents[2] / "deploy" / "kuadrant" / "token-budget.yaml"


def test_kuadrants_cluster_is_one_that_envoy_takes_and_istio_keeps() -> None:
    spec = next(yaml.safe_load_all(KUADRANT.read_text()))["spec"]
    (patch,) = spec["configPatches"]
    bootstrap = {"static_resources": {"clusters": [patch["patch"]["value"]]}}
    envoy = subprocess.run(
        [find_envoy(), "--mode", "validate", "--config-yaml", json.dumps(bootstrap)],
        capture_output=True,
        check=False,
        text=True,
    )

    assert envoy.returncode == 0, envoy.stderr
    # Istio merges nothing into Kuadrant's own, which is added too, and keeps the first of two with one name.
    assert patch["patch"]["operation"] == "ADD"
    assert patch["patch"]["value"]["name"] == "kuadrant-ratelimit-service"
    assert spec["priority"] < 0
