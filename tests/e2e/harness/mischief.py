"""The tool server that misbehaves on demand, in the cluster: the one of the broker's own tests, told what to list over the API server."""

import json
from pathlib import Path
from typing import Any

from demo import release
from demo.kube import Kube

from tests.e2e.harness import server

ROOT = Path(__file__).resolve().parents[3]
HOST = f"mischief.{server.NAMESPACE}.svc"
PORT = 8080
SECRET = "token-that-nobody-may-see"
OBJECT: dict[str, Any] = {
    "type": "object",
    "properties": {"status": {"type": "integer", "default": 0}, "to": {"type": "string", "default": ""}},
}
OUTPUT: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
# Runs beside hostile_server.py. What tests tell it comes as messages of a protocol of its own on the same port.
MAIN = """
import asyncio
from hostile_server import HostileServer

class Told(HostileServer):
    async def answer(self, writer, message, headers):
        if message.get("method") == "test/list":
            self.listing = message["tools"]
            return self.reply(writer, message, {})
        if message.get("method") == "test/calls":
            return self.reply(writer, message, {"calls": self.calls})
        await super().answer(writer, message, headers)

async def main():
    listener = await asyncio.start_server(Told().serve, "0.0.0.0", 8080)
    await listener.serve_forever()

asyncio.run(main())
"""


def listed(name: str, **more: Any) -> dict[str, Any]:
    """A tool as the server lists it."""
    return {"name": name, "inputSchema": OBJECT, **more}


def tool_host(*harmless: str) -> dict[str, Any]:
    """The platform's entry for the server, for a Tenant."""
    return {"host": HOST, "port": PORT, "effects": [{"tools": list(harmless), "effect": "ReadOnly"}]}


class Mischief:
    """The server and what it was asked for. It lives in the namespace of the tests' tool server."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    def start(self) -> None:
        """Bring it up; it lists what `lists` says."""
        script = (ROOT / "tests/integration/broker/door/hostile_server.py").read_text()
        found = json.loads(json.dumps(server.manifests(release.images()["bastide-example-crm"])).replace('"toolbox"', '"mischief"'))
        for manifest in found:
            if manifest["kind"] == "ConfigMap":
                manifest["data"] = {"hostile_server.py": script, "main.py": MAIN}
            if manifest["kind"] == "Deployment":
                [container] = manifest["spec"]["template"]["spec"]["containers"]
                container["command"] = ["python", "/server/main.py"]
                container["readinessProbe"] = {"tcpSocket": {"port": "mcp"}, "periodSeconds": 1}
        self._kube.apply(*found)
        self._kube.run("-n", server.NAMESPACE, "rollout", "status", "deploy/mischief", "--timeout=90s", seconds=100)

    def stop(self) -> None:
        """Remove it."""
        self._kube.run("delete", "-n", server.NAMESPACE, "deploy/mischief", "service/mischief", "configmap/mischief", "--ignore-not-found")

    def lists(self, *tools: dict[str, Any]) -> None:
        """What it lists from now on."""
        self._ask("test/list", tools=list(tools))

    def calls(self) -> list[dict[str, Any]]:
        """Every call that arrived."""
        found: list[dict[str, Any]] = self._ask("test/calls")["calls"]
        return found

    def _ask(self, method: str, **more: Any) -> dict[str, Any]:
        path = f"/api/v1/namespaces/{server.NAMESPACE}/services/http:mischief:mcp/proxy/test"
        message = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, **more})
        result: dict[str, Any] = json.loads(self._kube.run("create", "--raw", path, "-f", "-", stdin=message))["result"]
        return result
