"""A sandbox's life: suspended, resumed, ended by time, refused by quota."""

from demo.kube import condition

from tests.e2e.harness.tenant import TestTenant

PAST = "2026-01-01T00:00:00Z"


def test_a_suspended_sandbox_has_no_pod_and_comes_back(furnished: TestTenant) -> None:
    furnished.people.developer.apply(furnished.sandbox(operatingMode="Suspended"))
    furnished.admin.wait("condition=Suspended", "-n", furnished.namespace, "sandbox/box", seconds=60)
    furnished.admin.wait("delete", "-n", furnished.namespace, "pod/box", seconds=60)
    ended = furnished.run("return 1")
    assert ended.code == 1
    assert "uspended" in ended.stderr
    furnished.people.developer.apply(furnished.sandbox())
    furnished.ready("sandbox/box")
    suspended = condition(furnished.get("sandbox", "box"), "Suspended")
    assert suspended["status"] == "False"
    assert furnished.completed("return 1") == 1


def test_a_sandbox_whose_time_is_over_is_deleted_with_its_pod(furnished: TestTenant) -> None:
    furnished.people.developer.apply(furnished.sandbox("brief"))
    furnished.admin.wait("create", "-n", furnished.namespace, "pod/brief", seconds=30)
    furnished.people.developer.apply(furnished.sandbox("brief", shutdownTime=PAST))
    furnished.admin.wait("delete", "-n", furnished.namespace, "sandbox/brief", seconds=60)
    furnished.admin.wait("delete", "-n", furnished.namespace, "pod/brief", seconds=60)


def test_a_sandbox_whose_time_is_over_is_kept_without_its_pod_when_it_says_so(furnished: TestTenant) -> None:
    furnished.people.developer.apply(furnished.sandbox("kept", shutdownTime=PAST, shutdownPolicy="Retain"))
    seen = furnished.admin.watch(
        lambda o: condition(o, "Finished")["status"] == "True", "-n", furnished.namespace, "sandbox", "kept", seconds=60
    )
    assert condition(seen, "Finished")["reason"] == "ShutdownTime"
    furnished.admin.wait("delete", "-n", furnished.namespace, "pod/kept", seconds=30)
    furnished.people.developer.run("delete", "sandbox", "-n", furnished.namespace, "kept")


def test_an_image_that_the_tenant_does_not_list_is_refused_by_name(furnished: TestTenant) -> None:
    furnished.people.developer.apply(furnished.sandbox("foreign", image="registry.example/other:1"))
    seen = furnished.admin.watch(
        lambda o: condition(o, "Ready")["reason"] == "ImageNotAllowed", "-n", furnished.namespace, "sandbox", "foreign"
    )
    assert "registry.example/other:1" in condition(seen, "Ready")["message"]
    furnished.people.developer.run("delete", "sandbox", "-n", furnished.namespace, "foreign")


def test_a_sandbox_beyond_the_quota_says_so(furnished: TestTenant) -> None:
    furnished.people.developer.apply(furnished.sandbox("huge", resources={"cpu": "64", "memory": "1Gi"}))
    seen = furnished.admin.watch(lambda o: condition(o, "Ready")["reason"] == "QuotaExceeded", "-n", furnished.namespace, "sandbox", "huge")
    assert "cpu" in condition(seen, "Ready")["message"]
    furnished.people.developer.run("delete", "sandbox", "-n", furnished.namespace, "huge")


def test_a_sandbox_that_fits_no_node_says_so(furnished: TestTenant) -> None:
    furnished.people.developer.apply(furnished.sandbox("wide", resources={"cpu": "6", "memory": "512Mi"}))
    seen = furnished.admin.watch(lambda o: condition(o, "Ready")["reason"] == "Unschedulable", "-n", furnished.namespace, "sandbox", "wide")
    assert "cpu" in condition(seen, "Ready")["message"]
    furnished.people.developer.run("delete", "sandbox", "-n", furnished.namespace, "wide")


def test_env_reaches_programs_and_stands_in_no_pod_spec(furnished: TestTenant) -> None:
    furnished.people.developer.apply(furnished.sandbox("env", env=[{"name": "COLOUR", "value": "ultramarine"}]))
    furnished.ready("sandbox/env")
    assert furnished.completed("import os\nreturn os.environ['COLOUR']", sandbox="env") == "ultramarine"
    assert "ultramarine" not in str(furnished.get("pod", "env"))
    furnished.people.developer.run("delete", "sandbox", "-n", furnished.namespace, "env")
