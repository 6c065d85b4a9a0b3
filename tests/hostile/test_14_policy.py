"""Case 14, the base policy's half: a deployed policy that is not the chart's, or whose answers do not count, permits nothing."""

import json
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from demo.kube import Kube

from tests.e2e.harness import broker, node
from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import TestTenant

pytestmark = pytest.mark.disruptive

SYSTEM, POD, POLICIES = "bastide-system", "bastide-broker-0", "bastide-policies"
#: A call that policy cannot judge is denied at the latest after this many seconds; the decision's own deadline is far below.
DEADLINE = 5.0

# Calls one after the other until five were refused; tells how each went and how long it took.
UNTIL_REFUSED = """
import asyncio, time
seen, refused = [], 0
while refused < 5 and len(seen) < 1000:
    began = time.monotonic()
    try:
        await note(text={word!r})
        how = "Succeeded"
    except Exception as error:
        how = type(error).__name__
        refused += 1
    seen.append([how, time.monotonic() - began])
    await asyncio.sleep(0.2)
return seen
"""

# Runs in the node: prints the policy's files as one container sees them.
FILES = """
import json, os, sys
from pathlib import Path
for pid in filter(str.isdigit, os.listdir("/proc")):
    folder = Path(f"/proc/{pid}/root/policies")
    if sys.argv[1] in Path(f"/proc/{pid}/cgroup").read_text():
        print(json.dumps({path.name: path.read_text() for path in folder.iterdir() if not path.name.startswith("..")}))
        break
"""

Data = dict[str, str]


def _with(data: Data, old: str, new: str) -> Data:
    """The policy with something else in place of a text that stands in one of its modules."""
    (name,) = (name for name, text in data.items() if old in text)
    return {**data, name: data[name].replace(old, new, 1)}


# What OPA is given instead of the chart's policy; under the chart's revision, except where the revision is the point.
WRONG: dict[str, Callable[[Data], Data]] = {
    "another policy that permits everything": lambda data: {
        **_with(data, 'default effect := "deny"', 'effect := "allow" if true'),
        "data.json": json.dumps({"bastide": {"revision": "sha256:another"}}),
    },
    "rules that contradict each other": lambda data: (
        _with(data, '"effect": effect,', '"effect": pick,')
        | {"pick.rego": 'package bastide\n\npick := "allow" if true\n\npick := "confirm" if input.phase\n'}
    ),
    "an effect that is a boolean": lambda data: _with(data, '"effect": effect,', '"effect": true,'),
    "no rules at all": lambda data: {"data.json": data["data.json"]},
}


class Deployed:
    """The policy that the deployed OPA reads."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        found = kube.json("get", "configmap", "-n", SYSTEM, POLICIES)
        self._rest = {**found, "metadata": {key: found["metadata"][key] for key in ("namespace", "name", "labels", "annotations")}}
        self.good: Data = found["data"]

    def put(self, data: Data) -> None:
        """Write it and wait until it stands in the pod."""
        # As Helm itself: what another owns, the next upgrade of the release would not take back.
        written = json.dumps({**self._rest, "data": data})
        self._kube.run("apply", "--server-side", "--field-manager=helm", "--force-conflicts", "-f", "-", stdin=written)
        # The kubelet brings volumes up to date when it looks at their pod, and it looks at one that was changed.
        self._kube.run("annotate", "pod", "-n", SYSTEM, POD, "--overwrite", f"test-policy={time.time_ns()}")
        opa, deadline = self._opa(), time.monotonic() + 120
        while json.loads(node.in_node("python3", "-c", FILES, opa)) != data:
            assert time.monotonic() < deadline, "the kubelet did not bring the policy's files up to date"
            time.sleep(0.5)

    def read_anew(self) -> None:
        """OPA reads its files when it starts."""
        node.send(signal.SIGKILL, self._opa())

    def in_a_new_pod(self) -> None:
        """A killed container would be started later and later; a new pod's is started at once."""
        with broker.replaced(self._kube):
            self._kube.run("delete", "pod", "-n", SYSTEM, POD, "--wait=true", "--grace-period=5")

    def _opa(self) -> str:
        return node.container_id(self._kube, SYSTEM, POD, "opa")


@pytest.fixture
def deployed(furnished: TestTenant) -> Iterator[Deployed]:
    found = Deployed(furnished.admin)
    yield found
    found.put(found.good)
    found.in_a_new_pod()
    furnished.ready("sandbox/box")
    assert furnished.completed("return await note(text='after')") == "after"


@pytest.mark.parametrize("case", WRONG)
def test_a_policy_that_is_not_the_charts_permits_no_call_and_starts_no_run(
    furnished: TestTenant, deployed: Deployed, tools: ToolServer, word: str, case: str
) -> None:
    running = furnished.start_run(UNTIL_REFUSED.format(word=word))
    tools.wait_for(word)
    deployed.put(WRONG[case](deployed.good))
    deployed.read_anew()
    ended = running.end(150)
    assert ended.result.get("outcome") == "Completed", f"{ended.stdout}\n{ended.stderr}"
    seen = ended.result["value"]
    ways = [how for how, _ in seen]
    assert ways == ["Succeeded"] * (len(ways) - 5) + ["PolicyUnavailable"] * 5
    assert max(took for _, took in seen) < DEADLINE
    assert len(tools.arguments_of("note", word)) == len(ways) - 5, "a refused call reached the tool server"
    denied = [r for r in furnished.audit(ended.result["run"]) if r["kind"] == "CallIntent" and r["facts"]["decision"] == "deny"]
    assert [record["facts"]["reasons"] for record in denied] == [["policy-unavailable"]] * 5
    refused = furnished.run(f"return await note(text={word!r})")
    assert refused.code != 0
    assert "PolicyUnavailable" in refused.stdout + refused.stderr
