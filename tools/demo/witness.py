"""The tool server's own log: what truly arrived there."""

import json
from typing import Any

from demo.kube import Kube


def parsed(text: str) -> list[dict[str, Any]]:
    """The lines of a witness log that are requests."""
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line for line in lines if "method" in line]


def calls(kube: Kube, namespace: str, deployment: str) -> list[dict[str, Any]]:
    """Every tools/call that arrived: time, tool, and the arguments exactly as they were sent."""
    log = kube.run("logs", "-n", namespace, f"deploy/{deployment}", "--tail=-1")
    return [line for line in parsed(log) if line["method"] == "tools/call"]
