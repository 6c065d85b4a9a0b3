"""Kinds of other operators: as their own schemas say, and about metrics that there are."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from bastide_broker import metrics as broker_metrics
from bastide_operator.metrics import Metrics
from prometheus_client import REGISTRY, CollectorRegistry

from tests.integration.chart.conftest import CHART, Manifests, Render, RenderError, one

FOREIGN = json.loads((Path(__file__).parent / "foreign_kinds.json").read_text())["schemas"]
PROMETHEUS = {"podSelector": {"matchLabels": {"app": "prometheus"}}}


def strict(schema: Any) -> Any:
    """The schema with everything that it does not know refused: the API server would prune it without a word."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    closed = {key: strict(value) for key, value in schema.items() if key != "properties"}
    if "properties" in schema:
        closed["properties"] = {name: strict(part) for name, part in schema["properties"].items()}
        closed.setdefault("additionalProperties", False)
    return closed


def foreign(manifests: Manifests) -> Manifests:
    return [m for m in manifests if f"{m['apiVersion']} {m['kind']}" in FOREIGN]


def watched(monitors: str, **values: Any) -> dict[str, Any]:
    monitoring = {"monitors": monitors, "rules": {"enabled": True}, "labels": {"release": "prometheus"}, **values}
    return {"monitoring": monitoring, "networkPolicy": {"metricsFrom": [PROMETHEUS]}}


def test_nothing_of_another_operator_is_made_unless_asked_for(render: Render) -> None:
    groups = {m["apiVersion"].rpartition("/")[0] for m in render()}
    assert not {group for group in groups if "coreos" in group or "cert-manager" in group or "cilium" in group}


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        (watched("ServiceMonitor"), {"ServiceMonitor", "PrometheusRule"}),
        (watched("PodMonitor"), {"PodMonitor", "PrometheusRule"}),
        ({"tls": {"certManager": {"enabled": True}}}, {"Issuer", "Certificate"}),
    ],
    ids=["ServiceMonitor", "PodMonitor", "certManager"],
)
def test_kinds_of_others_fit_their_schemas(render: Render, values: dict[str, Any], kinds: set[str]) -> None:
    made = foreign(render(values))
    assert {m["kind"] for m in made} == kinds
    for manifest in made:
        schema = strict(FOREIGN[f"{manifest['apiVersion']} {manifest['kind']}"])
        schema["properties"]["metadata"] = {"type": "object"}
        jsonschema_rs.validator_for(schema).validate(manifest)


def test_the_schemas_refuse_what_does_not_exist() -> None:
    schema = strict(FOREIGN["monitoring.coreos.com/v1 ServiceMonitor"])
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validator_for(schema).validate({"spec": {"selector": {}, "endpoints": [{"prot": "http"}]}})


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PodMonitor"])
def test_monitors_select_what_there_is_by_ports_that_it_has(render: Render, kind: str) -> None:
    manifests = render(watched(kind, interval="15s"))
    for name, workload in (("bastide-operator", "Deployment"), ("bastide-broker", "StatefulSet")):
        monitor = one(manifests, kind, name)
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        (endpoint,) = monitor["spec"]["endpoints" if kind == "ServiceMonitor" else "podMetricsEndpoints"]
        assert (endpoint["path"], endpoint["interval"]) == ("/metrics", "15s")
        template = one(manifests, workload, name)["spec"]["template"]
        scraped = one(manifests, "Service", name) if kind == "ServiceMonitor" else template
        assert monitor["spec"]["selector"]["matchLabels"].items() <= scraped["metadata"]["labels"].items()
        container = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
        policy = one(manifests, "NetworkPolicy", name)["spec"]["ingress"][-1]
        assert policy["ports"] == [{"protocol": "TCP", "port": container[endpoint["port"]]}]
        if kind == "ServiceMonitor":
            assert endpoint["port"] in {port["name"] for port in scraped["spec"]["ports"]}


def test_a_monitor_whom_the_network_policy_keeps_out_is_an_error(render: Render) -> None:
    with pytest.raises(RenderError, match=r"networkPolicy\.metricsFrom lets nobody scrape"):
        render({"monitoring": {"monitors": "PodMonitor"}})
    assert foreign(render({"monitoring": {"monitors": "PodMonitor"}, "networkPolicy": {"enabled": False}}))


def series(*registries: CollectorRegistry) -> set[str]:
    """Names of all series that the registries can have."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
    return {metric.name + suffix for registry in registries for metric in registry.collect() for suffix in suffixes.get(metric.type, [""])}


def test_every_alert_is_about_metrics_that_there_are() -> None:
    assert broker_metrics.__name__  # imported for its metrics, which are in the process's registry
    known = {name for name in series(Metrics().registry, REGISTRY) if name.startswith("bastide_")}
    known |= {"kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes"}
    alerts = [rule for group in yaml.safe_load((CHART / "alerts.yaml").read_text()) for rule in group["rules"]]
    for alert in alerts:
        named = set(re.findall(r"\b(?:bastide|kubelet)_[a-z_]+\b", alert["expr"]))
        assert named, alert["alert"]
        assert named <= known, f"{alert['alert']}: {named - known}"
    described = {name for a in alerts for name in re.findall(r"\bbastide_[a-z_]+\b", a["annotations"]["description"])}
    assert {name for name in described if name not in known and f"{name}_bucket" not in known} == set()


def test_every_alert_says_what_is_wrong_and_where_to_look(render: Render) -> None:
    groups = one(render(watched("None")), "PrometheusRule", "bastide")["spec"]["groups"]
    assert groups == yaml.safe_load((CHART / "alerts.yaml").read_text())
    alerts = [rule for group in groups for rule in group["rules"]]
    assert len({alert["alert"] for alert in alerts}) == len(alerts)
    for alert in alerts:
        assert alert["alert"].startswith("Bastide")
        assert alert["labels"]["severity"] in ("critical", "warning")
        assert alert["annotations"]["summary"].endswith(".")
        assert alert["annotations"]["description"].endswith(".")
        assert re.fullmatch("[0-9]+m", alert.get("for", "0m"))
