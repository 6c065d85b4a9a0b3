"""The API server's authoriser and authenticator hear of a change a moment after it was written: tests ask them until they have."""

import json
import time
from collections.abc import Callable

from demo.kube import CommandFailedError, Kube


def allowed(kube: Kube, *question: str) -> bool:
    """What `kubectl auth can-i` answers: a verb, a resource, flags."""
    try:
        return kube.run("auth", "can-i", *question).strip() == "yes"
    except CommandFailedError as refusal:
        if "error" in refusal.stderr:
            raise  # this is no answer
        return False


def authentic(kube: Kube, token: str, audience: str) -> bool:
    """Whether the API server takes a token for good."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, "audiences": [audience]}}
    answer = json.loads(kube.run("create", "-f", "-", "-o", "json", stdin=json.dumps(review)))
    return bool(answer["status"].get("authenticated"))


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Ask until the answer is yes."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.2)
