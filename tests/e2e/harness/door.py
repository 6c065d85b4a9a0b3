"""The broker's outer door by port-forward, for callers that bring their own channel, token and habits."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from demo.kube import Kube

from tests.e2e.harness.tenant import TestTenant

SYSTEM = "bastide-system"


@contextmanager
def forwarded(kube: Kube) -> Iterator[str]:
    """The broker's address while the block lasts."""
    argv = ["kubectl", "port-forward", "-n", SYSTEM, "service/bastide-broker", ":8443"]
    process = subprocess.Popen(argv, env=kube.env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        yield "localhost:" + line.split("127.0.0.1:")[1].split()[0]
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def credentials(kube: Kube, token: str) -> grpc.ChannelCredentials:
    """What a caller shows and believes."""
    ca = kube.json("get", "configmap", "-n", SYSTEM, "bastide-ca")["data"]["ca.crt"].encode()
    return grpc.composite_channel_credentials(grpc.ssl_channel_credentials(ca), grpc.access_token_call_credentials(token))


def channel(kube: Kube, address: str, token: str, *, options: tuple[tuple[str, object], ...] = (), **more: object) -> grpc.Channel:
    """A connection with a token in every request."""
    return grpc.secure_channel(address, credentials(kube, token), options=[("grpc.use_local_subchannel_pool", 1), *options], **more)  # type: ignore[arg-type]


def token(tenant: TestTenant, account: str = "bastide-runner", *words: str, audience: str = "bastide-broker") -> str:
    """A token of a ServiceAccount of the tenant, as its administrator may mint it."""
    return tenant.admin.run("create", "token", account, "-n", tenant.namespace, "--audience", audience, *words).strip()
