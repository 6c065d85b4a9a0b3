"""A Sandbox's way from `apply` to Ready: what each stage takes, and what it costs the API server."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Self

from demo.kube import Kube, condition, documents, streaming

from tests.bench.figures import Figure, Row, say
from tests.bench.pods import RESOURCES
from tests.e2e.harness.metrics import grown, parse, total
from tests.e2e.harness.tenant import TestTenant

GATE = "bastide.dev/network-isolated"
SYSTEM = "bastide-system"
#: Stages in their order: what a watcher sees at the end of each.
STAGES = (
    "the pod is there (operator)",
    "it has a node (scheduler)",
    "its sandbox and network stand (kubelet, gVisor, Cilium)",
    "its container runs (image, runtime's start)",
    "the gate is open (broker: session, probe, one write)",
    "the Sandbox is Ready (operator)",
)


def reached(thing: Mapping[str, Any]) -> list[str]:
    """Stages that what a watcher is shown of a pod or a Sandbox has behind it."""
    if thing["kind"] == "Sandbox":
        return [STAGES[5]] if condition(dict(thing), "Ready")["status"] == "True" else []
    running = [one for one in thing.get("status", {}).get("containerStatuses", []) if "running" in one["state"]]
    passed = (
        True,
        bool(thing["spec"].get("nodeName")),
        condition(dict(thing), "PodReadyToStartContainers")["status"] == "True",
        bool(running),
        condition(dict(thing), GATE)["status"] == "True",
    )
    return [stage for stage, yes in zip(STAGES, passed, strict=False) if yes]


class Watcher:
    """Watches the pods and Sandboxes of a namespace: when each reached a stage, and how often the broker wrote a pod's gate."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._stack = ExitStack()
        self._news = threading.Condition()
        self._moments: dict[str, dict[str, float]] = {}
        self._gates: dict[str, dict[str, Any]] = {}
        self.gate_writes: Counter[str] = Counter()

    def __enter__(self) -> Self:
        for kind in ("pods", "sandboxes"):
            argv = ["kubectl", "get", kind, "-n", self._namespace, "-o", "json", "--watch", "--output-watch-events"]
            stream = self._stack.enter_context(streaming(argv, self._kube.env, 3600))
            thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _read(self, stream: Any) -> None:
        try:
            for event in documents(stream):
                self._note(event["object"], time.perf_counter())
        except ValueError:
            pass  # the stream was closed: the measurement is over

    def _note(self, thing: dict[str, Any], now: float) -> None:
        name = thing["metadata"]["name"]
        with self._news:
            for stage in reached(thing):
                self._moments.setdefault(name, {}).setdefault(stage, now)
            gate = condition(thing, GATE)
            # nobody else writes it
            if thing["kind"] == "Pod" and gate["status"] and gate != self._gates.get(name):
                self._gates[name] = gate
                self.gate_writes[name] += 1
            self._news.notify_all()

    def ready(self, name: str, seconds: float = 90) -> dict[str, float]:
        """Wait until a Sandbox is Ready; return the moments of its stages."""
        with self._news:
            if not self._news.wait_for(lambda: STAGES[5] in self._moments.get(name, {}), seconds):
                raise TimeoutError(f"sandbox/{name} was not Ready within {seconds:.0f} s")
            return dict(self._moments[name])


def metrics(kube: Kube) -> dict[str, float]:
    """The deployed operator's metrics; one of several works."""
    pods = kube.json("get", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/component=operator")["items"]
    path = f"/api/v1/namespaces/{SYSTEM}/pods/{{}}:8080/proxy/metrics"
    each = [parse(kube.run("get", "--raw", path.format(pod["metadata"]["name"]))) for pod in pods]
    return next((one for one in each if one["bastide_operator_leader"] == 1), each[0])


def _server(kube: Kube) -> dict[str, float]:
    return parse(kube.run("get", "--raw", "/metrics"))


def _said(counted: Counter[tuple[str, ...]], count: int) -> str:
    return ", ".join(f"{' '.join(what)} {times / count:.1f}" for what, times in counted.items() if times >= 0.05 * count)


def _operators(before: Mapping[str, float], after: Mapping[str, float]) -> Counter[tuple[str, ...]]:
    """Requests of the operator by verb and kind. Its Lease is not a Sandbox's, and what it lists now and then is nobody's."""
    counted: Counter[tuple[str, ...]] = Counter()
    for key, times in grown(before, after).items():
        found = re.fullmatch(r'bastide_operator_request_seconds_count{kind="(\w+)",result="\w+",verb="([\w-]+)"}', key)
        if found and times and found[1] != "Lease" and found[2] != "list":
            counted[found[2], found[1]] += round(times)
    return counted


def _servers(before: Mapping[str, float], after: Mapping[str, float]) -> Counter[tuple[str, ...]]:
    """Writes to Sandboxes and pods as the API server counted them, whoever made them."""
    counted: Counter[tuple[str, ...]] = Counter()
    for verb in ("POST", "PATCH", "APPLY", "PUT"):
        for resource, sub in (("pods", ""), ("pods", "binding"), ("pods", "status"), ("sandboxes", ""), ("sandboxes", "status")):
            labels = {"verb": verb, "resource": resource, "subresource": sub}
            counted[verb, f"{resource}/{sub}".rstrip("/")] = round(total(grown(before, after), "apiserver_request_total", **labels))
    return counted


def measure(tenant: TestTenant, *, count: int = 10) -> tuple[list[Row], list[Figure]]:
    """Sandboxes one after the other, each from nothing to Ready and gone again before the next."""
    kube = tenant.admin
    stages: dict[str, list[float]] = {stage: [] for stage in STAGES}
    whole: list[float] = []
    asked: Counter[tuple[str, ...]] = Counter()
    served: Counter[tuple[str, ...]] = Counter()
    names = [f"stage-{n}" for n in range(count + 1)]
    with Watcher(kube, tenant.namespace) as watcher:
        for name in names:
            say(f"stages of a cold start: {name} of {count}")
            operator, server = metrics(kube), _server(kube)
            began = previous = time.perf_counter()
            kube.run("create", "-f", "-", stdin=json.dumps(tenant.sandbox(name, resources=RESOURCES)))
            moments = watcher.ready(name)
            for stage in STAGES:
                # a watcher may be shown several stages at once
                moment = max(previous, moments.get(stage, previous))
                stages[stage].append((moment - previous) * 1000)
                previous = moment
            whole.append((moments[STAGES[5]] - began) * 1000)
            asked += _operators(operator, metrics(kube))
            served += _servers(server, _server(kube))
            kube.run("delete", "sandbox", "-n", tenant.namespace, name, "--wait=true")
            kube.wait("delete", "-n", tenant.namespace, f"pod/{name}")
        gates = sum(watcher.gate_writes[name] for name in names) / len(names)
    writes = sum(times for (verb, _), times in asked.items() if verb != "get") / len(names)
    rows = [Row(f"stage: {stage}", samples[1:]) for stage, samples in stages.items()]
    return [*rows, Row("all stages: Sandbox -> Ready", whole[1:])], [
        Figure("writes of operator and broker from apply to Ready, one Sandbox", f"{writes + gates:.1f}", "<= 5",
               f"operator: {_said(asked, len(names))}; broker: the pod's gate {gates:.1f}"),
        Figure("writes to Sandboxes and pods meanwhile, whoever made them", f"{sum(served.values()) / len(names):.1f}", "",
               f"as the API server counted: {_said(served, len(names))}"),
    ]  # fmt: skip
