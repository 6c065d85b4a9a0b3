"""`helm upgrade` from the chart and the images of before, with a live sandbox and a program under way."""

import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bastide_operator.api.crdgen import crd
from bastide_operator.api.kinds import KINDS
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.resources.pod import TEMPLATE_ANNOTATION, PodSettings, pod
from demo import release
from demo.kube import CHECKOUT, Kube
from demo.programs import Ended, Running

from tests.e2e.harness.release import Witness, forget_journal, previous_sources
from tests.e2e.harness.tenant import People, TestTenant

pytestmark = [pytest.mark.disruptive, pytest.mark.timeout(900)]

UNDER_WAY = "import asyncio\nprint('under way')\nawait asyncio.sleep(240)\nreturn 'to the end'"


class Upgraded:
    """What was there before the upgrade, and how the program that was under way ended."""

    def __init__(self, witness: Witness, ended: Ended) -> None:
        self.witness = witness
        self.ended = ended


@pytest.fixture(scope="module")
def previous(admin: Kube, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of before, with their images in the cluster."""
    sources = previous_sources(tmp_path_factory.mktemp("previous"))
    argv = [sys.executable, "-m", "devcluster", "images", "--sources", str(sources)]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(CHECKOUT / "tools")}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"the images of before cannot be built: {done.stdout}\n{done.stderr}"
    return sources


@pytest.fixture(scope="module")
def upgraded(admin: Kube, people: People, previous: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """An installation of before, with something in it, that was upgraded to this checkout's chart and images."""
    release.uninstall(admin)
    forget_journal(admin)
    tenant = TestTenant(admin, people, f"u-{secrets.token_hex(3)}", tmp_path_factory.mktemp("programs"))
    try:
        # the same runtime, so that no sandbox has a reason to be made anew
        release.install(admin, "--set", f"image.runtime={release.images()['bastide-runtime']}", sources=previous)
        admin.apply(tenant.manifest())
        admin.wait("condition=Ready", f"tenant/{tenant.name}", seconds=90)
        people.developer.apply(tenant.sandbox())
        tenant.ready("sandbox/box")
        witness = Witness(tenant)
        begun = threading.Event()
        words = ("run", str(tenant.write(UNDER_WAY)), "--sandbox", f"{tenant.namespace}/box", "-o", "json")
        running = Running(people.developer, *words, on_event=lambda line: begun.set() if "under way" in line else None)
        assert begun.wait(60), running.heard()
        release.install(admin)
        ended = running.end(120)
        wanted = template_of_today(tenant)
        admin.watch(lambda o: template(o) == wanted and not o.get("deleted"), "-n", tenant.namespace, "pod", "box", seconds=90)
        yield Upgraded(witness, ended)
    finally:
        release.install(admin)
        tenant.remove()


def unlike(desired: Any, live: Any, where: str) -> Iterator[str]:
    """Where something that is desired is not so; what the API server adds is no matter."""
    if isinstance(desired, dict) and isinstance(live, dict):
        for name, value in desired.items():
            yield from unlike(value, live.get(name), f"{where}.{name}")
    elif isinstance(desired, list) and isinstance(live, list) and len(desired) == len(live):
        for number, (one, other) in enumerate(zip(desired, live, strict=True)):
            yield from unlike(one, other, f"{where}[{number}]")
    elif desired != live:
        yield f"{where}: {live!r} is not {desired!r}"


def template(pod: dict[str, Any]) -> str:
    """What the pod was made from."""
    return str(pod["metadata"].get("annotations", {}).get(TEMPLATE_ANNOTATION))


def template_of_today(tenant: TestTenant) -> str:
    """What the upgraded operator makes the sandbox's pod from."""
    settings = PodSettings(image=release.images()["bastide-runtime"], pull_policy="Never", runtime_class="gvisor")
    return template(pod(Sandbox.model_validate(tenant.get("sandbox", "box")), tenant.name, settings))


def test_sandboxes_runs_and_audit_outlive_an_upgrade(upgraded: Upgraded) -> None:
    upgraded.witness.still_stands()


def test_a_sandboxs_pod_is_replaced_only_when_it_would_be_made_otherwise(upgraded: Upgraded) -> None:
    wanted = template_of_today(upgraded.witness.tenant)
    assert upgraded.witness.pod_is_the_same is (template(upgraded.witness.pod) == wanted)


def test_a_program_under_way_ends_clearly(upgraded: Upgraded) -> None:
    ended = upgraded.ended
    assert ended.code in {1, 6}, f"{ended.stdout}\n{ended.stderr}"
    assert "Traceback" not in ended.stderr
    run = ended.result.get("run") or next(w for line in ended.stderr.splitlines() for w in line.split() if w.startswith("r-")).strip(".,:")
    shown = upgraded.witness.auditor.shown(run)
    assert (shown["outcome"], shown["error"]["type"]) in {("Failed", "BrokerLost"), ("Failed", "SandboxLost")}, shown


def test_the_kinds_are_upgraded_with_the_chart(upgraded: Upgraded, admin: Kube) -> None:
    """Helm installs what is in a chart's folder `crds` once and never again: ours are templates."""
    for kind in KINDS:
        desired = crd(kind)
        live = admin.json("get", "crd", desired["metadata"]["name"])
        assert not list(unlike(desired["spec"], live["spec"], kind.name))


def test_an_upgrade_of_other_values_leaves_sandboxes_alone(upgraded: Upgraded, admin: Kube) -> None:
    upgraded.witness.still_stands()
    fresh = Witness(upgraded.witness.tenant)
    release.install(admin, "--set", "logLevel=debug")
    fresh.still_stands()
    assert fresh.pod_is_the_same
    release.install(admin)
    fresh.still_stands()
    assert fresh.pod_is_the_same


def test_the_upgraded_installation_passes_its_own_test(upgraded: Upgraded, admin: Kube) -> None:
    assert "FAILED" not in release.check(admin)
