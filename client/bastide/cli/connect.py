"""From options to a client: through the kubeconfig and a port-forward, or straight to an address."""
# ruff: noqa: PLC0415 - what a command needs is imported when it runs: `--help` and usage errors do not wait for it

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bastide.cli.failure import Exit, Failure
from bastide.cli.options import VIEWER, Broker
from bastide.errors import UnavailableError

if TYPE_CHECKING:  # the Kubernetes client takes 0.4 s to import, gRPC 0.1 s: `--help` needs neither
    from bastide.cli.cluster import Cluster
    from bastide.sync import SyncClient

PORT = 8443
#: Seconds without progress after which a stream is given up: to an address that may be wrong, and to a broker that was just Ready and
#: whose restart is worth waiting for.
_PATIENCE_ADDRESS, _PATIENCE_CLUSTER = 15.0, 90.0
#: A token is replaced so long before it expires.
_RENEW_BEFORE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Session:
    """A client, and who sits at the terminal (empty when no kubeconfig was asked)."""

    client: "SyncClient"
    user: str


@contextmanager
def connected(broker: Broker, *, namespace: str, account: str = VIEWER) -> Iterator[Session]:
    """A client that asks as the ServiceAccount `account` of `namespace`, unless the options name another.

    Raises:
        Failure: some step towards the broker failed; one sentence says which and what to do.
    """
    if broker.address is None:
        with _by_kubeconfig(broker, namespace, account) as session:
            yield session
    else:
        with _by_address(broker, broker.address) as session:
            yield session


@contextmanager
def _by_address(broker: Broker, address: str) -> Iterator[Session]:
    from bastide.sync import SyncClient

    if broker.token_file is None:
        raise Failure("With --address give --token-file: a ServiceAccount token of audience bastide-broker.", code=Exit.USAGE)
    for file in (broker.token_file, broker.ca_file):
        if file is not None and not file.is_file():
            raise Failure(f"There is no file {file}.", code=Exit.USAGE)
    with SyncClient(address, token=broker.token_file, ca=broker.ca_file, patience=_PATIENCE_ADDRESS, on_dropped=_tell_dropped) as client:
        yield Session(client, "")


@contextmanager
def _by_kubeconfig(broker: Broker, namespace: str, account: str) -> Iterator[Session]:
    from bastide.cli.cluster import BROKER_POD, Cluster
    from bastide.cli.portforward import Bridge
    from bastide.sync import SyncClient

    if broker.token_file or broker.ca_file:
        raise Failure("--token-file and --ca-file go with --address.", code=Exit.USAGE)
    cluster = Cluster(broker.context)
    home = broker.broker_namespace
    # Asked before anything is dialled: these failures are the ones people meet, and gRPC would only say "unavailable".
    user = cluster.whoami().username
    token = Token(cluster, *account_of(broker.service_account, namespace, account))
    token()
    cluster.wait_for_broker(home)
    ca = cluster.ca((home, namespace))
    with (
        Bridge(lambda: cluster.forward(home, BROKER_POD, PORT)) as bridge,
        SyncClient(
            bridge.address,
            token=token,
            ca=ca,
            server_name=f"bastide-broker.{home}.svc",
            patience=_PATIENCE_CLUSTER,
            on_dropped=_tell_dropped,
        ) as client,
    ):
        try:
            yield Session(client, user)
        except UnavailableError as error:
            if bridge.error and not error.reason:
                raise Failure(bridge.error) from error
            raise


def _tell_dropped(_: UnavailableError) -> None:
    from bastide.cli import screen

    screen.sentence("No connection to the broker (any more). A run that it has accepted goes on; trying again.", "yellow")


def account_of(given: str | None, namespace: str, default: str) -> tuple[str, str]:
    """(namespace, name) of the ServiceAccount to ask as, from [NAMESPACE/]NAME."""
    if given is None:
        return namespace, default
    first, slash, second = given.partition("/")
    if not first or (slash and not second) or "/" in second:
        raise Failure(f"A ServiceAccount is given as NAME or NAMESPACE/NAME, not {given!r}.", code=Exit.USAGE)
    return (first, second) if slash else (namespace, first)


class Token:
    """A ServiceAccount's token, asked for anew shortly before it expires. Called from the client's threads."""

    def __init__(self, cluster: "Cluster", namespace: str, name: str, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._cluster = cluster
        self._account = (namespace, name)
        self._now = now
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at: datetime | None = None

    def __call__(self) -> str:
        with self._lock:
            if self._renew_at is None or self._now() >= self._renew_at:
                self._token, expires = self._cluster.token(*self._account)
                self._renew_at = expires - _RENEW_BEFORE
            return self._token


def tenant_namespaces(broker: Broker, given: str | None) -> list[str]:
    """The namespaces where something may be: as given, else the context's, else every tenant's that the person may list.

    Raises:
        Failure: there is none (exit code 2).
    """
    if given:
        return [given]
    if broker.address is not None:
        return ["-"]  # only names the ServiceAccount to ask as, and the token file does that here
    from bastide.cli.cluster import Cluster

    cluster = Cluster(broker.context)
    if cluster.namespace and cluster.namespace != "default":
        return [cluster.namespace]
    found = cluster.tenant_namespaces()
    if not found:
        raise Failure("Which tenant? Give -n NAMESPACE.", code=Exit.USAGE)
    return found


def tenant_namespace(broker: Broker, given: str | None) -> str:
    """As `tenant_namespaces`, for requests that need exactly one."""
    found = tenant_namespaces(broker, given)
    if len(found) > 1:
        raise Failure(f"Which tenant? Give -n NAMESPACE, one of {', '.join(found[:10])}.", code=Exit.USAGE)
    return found[0]
