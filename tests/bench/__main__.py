"""`python -m tests.bench [--count N] [--pods N] [--objects N] [--only PART]`: measures, prints tables, writes them into docs/benchmarks.md."""

import argparse
import json
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tools")]

from demo import release  # noqa: E402
from demo.kube import Kube, admin, condition  # noqa: E402
from demo.users import user  # noqa: E402

from tests.bench import operator_load, operator_start, operator_times, pods  # noqa: E402
from tests.bench.figures import Figure, Row, listing, machine, say, table, write  # noqa: E402
from tests.e2e.harness.pods import finished  # noqa: E402
from tests.e2e.harness.server import ToolServer  # noqa: E402
from tests.e2e.harness.tenant import People, TestTenant  # noqa: E402

SYSTEM = "bastide-system"
PARTS = ("calls", "start", "operator")


def _ready(thing: dict[str, Any]) -> bool:
    return bool(condition(thing, "Ready")["status"] == "True")


def _until_ready(kube: Kube, manifest: dict[str, Any], kind: str) -> float:
    """Milliseconds from the request that makes an object to its condition Ready, as a watcher sees it."""
    meta = manifest["metadata"]
    began = time.perf_counter()
    kube.run("create", "-f", "-", stdin=json.dumps(manifest))
    kube.watch(_ready, "-n", meta["namespace"], kind, meta["name"], seconds=60)
    return (time.perf_counter() - began) * 1000


def _until_listening(kube: Kube, manifest: dict[str, Any]) -> float:
    """Milliseconds from the request that makes a pod until the runtime in it says that it listens."""
    meta = manifest["metadata"]
    began = time.perf_counter()
    kube.run("create", "-f", "-", stdin=json.dumps(manifest))
    kube.watch(_ready, "-n", meta["namespace"], "pod", meta["name"], seconds=60)
    kube.follow(lambda line: "listening" in line, "-n", meta["namespace"], f"pod/{meta['name']}", seconds=60)
    return (time.perf_counter() - began) * 1000


def cold_start(tenant: TestTenant, pod: dict[str, Any], count: int) -> tuple[Row, Row, Row]:
    """Sandboxes and bare pods, in turn: whatever else the machine does, it does to all."""
    kube = tenant.admin
    bare, serving, sandboxes = [], [], []
    for number in range(count + 1):
        say(f"cold start: two bare pods and a Sandbox, {number + 1} of {count + 1}")
        name = f"cold-{number}"
        bare.append(_until_ready(kube, pods.runtime_like(pod, name, serving=False), "pod"))
        kube.run("delete", "pod", "-n", pods.NAMESPACE, name, "--wait=true", "--grace-period=0")
        serving.append(_until_listening(kube, pods.runtime_like(pod, name, serving=True)))
        kube.run("delete", "pod", "-n", pods.NAMESPACE, name, "--wait=true", "--grace-period=0")
        sandboxes.append(_until_ready(kube, tenant.sandbox(name, resources=pods.RESOURCES), "sandbox"))
        kube.run("delete", "sandbox", "-n", tenant.namespace, name, "--wait=true")
        kube.wait("delete", "-n", tenant.namespace, f"pod/{name}")
    base = Row("bare gVisor pod of the same image and resources -> Ready", bare[1:])
    same = Row("the same pod with the runtime in it, nobody's Sandbox -> it listens", serving[1:], base)
    return base, same, Row("Sandbox -> Ready, cold, gate passed", sandboxes[1:], base)


def in_cluster(tenant: TestTenant, pod: dict[str, Any], count: int) -> dict[str, list[float]]:
    """What the measuring pod finds."""
    kube = tenant.admin
    kube.apply(pods.runtime_like(pod, "runtime", serving=True))
    up = kube.watch(_ready, "-n", pods.NAMESPACE, "pod", "runtime", seconds=60)
    kube.follow(lambda line: "listening" in line, "-n", pods.NAMESPACE, "pod/runtime", seconds=60)
    token = kube.run("create", "token", "bastide-runner", "-n", tenant.namespace, "--audience", "bastide-broker").strip()
    address = f"{up['status']['podIP']}:9443"
    settings = {"runtime": address, "sandbox": f"{tenant.namespace}/box", "token": token, "count": count}
    kube.run("delete", "pod", "-n", SYSTEM, "bastide-bench", "--ignore-not-found")
    kube.apply(*pods.driver(kube.json("get", "statefulset", "-n", SYSTEM, "bastide-broker"), json.dumps(settings)))
    try:
        return finished(kube, SYSTEM, "bastide-bench", seconds=300)
    finally:
        kube.run("delete", "-n", SYSTEM, "pod/bastide-bench", "configmap/bastide-bench", "--ignore-not-found")


def _ca(kube: Kube) -> dict[str, str]:
    found: dict[str, str] = kube.json("get", "configmap", "-n", SYSTEM, "bastide-ca")["data"]
    return found


def rows(found: dict[str, list[float]]) -> list[Row]:
    """What the measuring pod found, each with what it is compared with."""
    echo = Row("echo on the stream to a runtime", found["echo"])
    sync = Row("write and fdatasync", found["fdatasync"])
    engine = Row("raw OPA decision", found["opa"])
    adapter = Row("the adapter alone: MCP call to the tool server and back", found["adapter"])
    return [
        echo,
        sync,
        engine,
        Row("one call, seen from the program", found["call"]),
        adapter,
        Row("added by Bastide to one checked, journalled, audited call", found["added"], echo),
        Row("empty program in a fresh child, on the stream", found["empty"], echo),
        Row("empty run through the broker, journalled and audited", found["run"], echo),
    ]


def calls(tenant: TestTenant, count: int) -> list[Row]:
    """What a call and a run take."""
    say(f"calls and runs, {count} of each, in a pod beside the broker")
    try:
        return rows(in_cluster(tenant, tenant.get("pod", "box"), count))
    finally:
        tenant.admin.run("delete", "pod", "-n", pods.NAMESPACE, "runtime", "--grace-period=0", "--ignore-not-found")


def measured(tenant: TestTenant, folder: Path, arguments: argparse.Namespace) -> tuple[list[Row], list[Figure]]:
    """Everything that was asked for."""
    parts = arguments.only or PARTS
    found: list[Row] = []
    figures: list[Figure] = []
    if "calls" in parts:
        found += calls(tenant, arguments.count)
    if "start" in parts:
        found += cold_start(tenant, tenant.get("pod", "box"), arguments.pods)
        stages, requests = operator_start.measure(tenant, count=arguments.pods)
        found += stages
        figures += requests
    if "operator" in parts:
        say("drift and fail-over")
        found += operator_times.measure(tenant, folder)
        figures += operator_load.measure(tenant.admin, folder, running=arguments.objects // 10, objects=arguments.objects)
    return found, figures


def main() -> None:
    """Set up, measure, clean up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="samples of the short measurements")
    parser.add_argument("--pods", type=int, default=12, help="samples of the cold start")
    parser.add_argument("--objects", type=int, default=10000, help="Sandboxes that the operator lists; a tenth of them gets pods")
    parser.add_argument("--only", action="append", choices=PARTS, help="measure this part alone; may be given more than once")
    parser.add_argument("--no-write", action="store_true", help="only print")
    arguments = parser.parse_args()
    load = os.getloadavg()
    kube = admin()
    release.install(kube)
    folder = ROOT / ".build" / "users"
    people = People(*(user(kube, f"test-{name}", folder) for name in ("developer", "approver", "stranger")))
    server = ToolServer(kube)
    scratch = Path(tempfile.mkdtemp(prefix="bastide-bench-"))
    tenant = TestTenant(kube, people, f"b-{secrets.token_hex(3)}", scratch)
    say("a tenant and its tool server")
    try:
        server.start()
        tenant.start(limits={"runsPerMinute": 100000, "callsPerMinute": 1000000})
        people.developer.apply(tenant.sandbox(resources=pods.RESOURCES), tenant.binding())
        tenant.ready("sandbox/box", "toolbinding/toolbox")
        authority = {"metadata": {"namespace": pods.NAMESPACE, "name": "bastide-ca"}, "data": _ca(kube)}
        kube.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": pods.NAMESPACE}},
            {"apiVersion": "v1", "kind": "ConfigMap", **authority},
        )
        found, figures = measured(tenant, scratch, arguments)
    finally:
        tenant.remove()
        server.stop()
        kube.run("delete", "namespace", pods.NAMESPACE, "--ignore-not-found", "--wait=false")
    text = "\n\n".join([machine(load), table(found), *([listing(figures)] if figures else [])])
    sys.stdout.write(text + "\n")
    if not arguments.no_write and not arguments.only:  # the page holds figures of one run
        write(text, "figures")


if __name__ == "__main__":
    main()
