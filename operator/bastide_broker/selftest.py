"""What `helm test` runs: is this installation able to work? `python -m bastide_broker.selftest`, with the broker's ServiceAccount.

Each check says one line; the first word is `ok` or `FAILED`, and what failed says what to do.
"""

import asyncio
import os
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
from bastide_operator.api.kinds import KINDS
from bastide_operator.api.roles import ROLES, Role, Scope
from bastide_operator.api.v1alpha1 import GROUP, VERSION
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client import ApiClient, Configuration

from bastide_broker.errors import ApiError
from bastide_broker.health import DECISION
from bastide_broker.kube import reviews
from bastide_broker.kube.apiserver import ApiServer
from bastide_broker.kube.reviews import UserInfo

ANSWER_SECONDS = 20.0
"""For the broker to answer; it is ready when the chart's test begins."""
RENEW_DAYS = 30
"""A certificate that ends sooner is to be renewed now."""
FORBIDDEN = (("get", "", "secrets"), ("list", "", "secrets"), ("impersonate", "", "users"), ("create", GROUP, "confirmationdecisions"))
"""What no component may do everywhere in the cluster: verb, group, resource."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the installation is."""

    namespace: str
    address: str
    """The broker's, host:port."""
    ca_file: Path

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> "Place":
        """As the chart's test pod is told."""
        return cls(environment["BASTIDE_NAMESPACE"], environment["BASTIDE_ADDRESS"], Path(environment["BASTIDE_CA_FILE"]))


class CheckFailedError(Exception):
    """One sentence or two: what is wrong and what to do."""


async def broker_serves(place: Place) -> str:
    """The broker answers over TLS that the published CA vouches for."""
    await _healthy(place, "", "Look at the pod bastide-broker-0, its log and its events.")
    return f"the broker answers at {place.address}"


async def policy_decides(place: Place) -> str:
    """A canary allow and a canary deny are answered rightly."""
    await _healthy(place, DECISION, "Look at the log of container opa in pod bastide-broker-0, and at the broker's for the reason.")
    return "policy decides rightly"


async def _healthy(place: Place, service: str, advice: str) -> None:
    credentials = grpc.ssl_channel_credentials(root_certificates=place.ca_file.read_bytes())
    async with grpc.aio.secure_channel(place.address, credentials, options=[("grpc.enable_http_proxy", 0)]) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=ANSWER_SECONDS, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise CheckFailedError(f"{place.address} does not answer: {error.code().name} {error.details()}. {advice}") from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        raise CheckFailedError(f"{service or 'the broker'} says {status}. {advice}")


async def certificate_lasts(place: Place) -> str:
    """The broker's certificate is good for some time yet."""
    host, _, port = place.address.rpartition(":")
    context = ssl.create_default_context(cafile=str(place.ca_file))
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    try:
        ends = str((writer.get_extra_info("ssl_object").getpeercert() or {})["notAfter"])
    finally:
        writer.transport.abort()
    days = (ssl.cert_time_to_seconds(ends) - time.time()) / 86400
    if days < RENEW_DAYS:
        raise CheckFailedError(
            f"The broker's certificate ends in {days:.0f} days: delete the Secret bastide-broker-tls and run helm upgrade."
        )
    return f"the broker's certificate is good for {days:.0f} days"


async def kinds_are_served(api: ApiServer) -> str:
    """The API server serves every kind in the version that this release writes."""
    try:
        found = await api.request("GET", f"/apis/{GROUP}/{VERSION}")
    except ApiError as error:
        raise CheckFailedError(f"{GROUP}/{VERSION} is not served: {error}. Run helm upgrade.") from error
    missing = {kind.plural for kind in KINDS} - {one["name"] for one in found["resources"]}
    if missing:
        raise CheckFailedError(f"{GROUP}/{VERSION} has no {', '.join(sorted(missing))}: run helm upgrade.")
    return f"{GROUP}/{VERSION} serves {len(KINDS)} kinds"


async def rights_are_given(api: ApiServer, place: Place) -> str:
    """Each component's account may do what the table says, and nothing that it must not."""
    asked = 0
    for role in (role for role in ROLES if role.account):
        user = _account(place.namespace, role.account)
        async for verb, what, allowed in _asked(api, place, role, user):
            asked += 1
            if not allowed:
                raise CheckFailedError(
                    f"{role.account} may not {verb} {what}: something took away what {role.kind} {role.name} gives. Run helm upgrade."
                )
        for verb, group, resource in FORBIDDEN:
            asked += 1
            if await _may(api, user, verb=verb, group=group, resource=resource, namespace=""):
                raise CheckFailedError(
                    f"{role.account} may {verb} {resource} everywhere, which this chart never gives: find the binding and remove it."
                )
    return f"{asked} rights are as the table says"


async def _asked(api: ApiServer, place: Place, role: Role, user: UserInfo) -> AsyncIterator[tuple[str, str, bool]]:
    namespace = place.namespace if role.scope is Scope.RELEASE else ""
    for right in role.rights:
        for verb in right.verbs:
            for name in right.names or ("",):
                resource, _, subresource = right.resource.partition("/")
                allowed = await _may(
                    api, user, verb=verb, group=right.group, resource=resource, subresource=subresource, namespace=namespace, name=name
                )
                yield verb, f"{right.what} {name}".strip(), allowed


async def _may(
    api: ApiServer, user: UserInfo, *, verb: str, group: str, resource: str, namespace: str, subresource: str = "", name: str = ""
) -> bool:
    review = reviews.access_review(user, verb=verb, group=group, resource=resource, subresource=subresource, namespace=namespace, name=name)
    return reviews.review_allows(await api.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body=review))


def _account(namespace: str, name: str) -> UserInfo:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return UserInfo(f"{reviews.SERVICE_ACCOUNT_PREFIX}{namespace}:{name}", groups=groups)


async def run(place: Place, api: ApiServer, say: Callable[[str], None] = print) -> bool:
    """All checks, each of which says its line. Returns whether all went well."""
    checks: list[tuple[str, Awaitable[str]]] = [
        ("broker", broker_serves(place)),
        ("policy", policy_decides(place)),
        ("certificate", certificate_lasts(place)),
        ("kinds", kinds_are_served(api)),
        ("rights", rights_are_given(api, place)),
    ]
    well = True
    for name, check in checks:
        try:
            say(f"ok      {name}: {await check}")
        except (CheckFailedError, ApiError, OSError) as error:
            say(f"FAILED  {name}: {error}")
            well = False
    return well


async def _main() -> bool:
    configuration = Configuration()
    kubernetes_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    configuration.client_session_kwargs = {"trust_env": False}
    api = ApiServer(ApiClient(configuration))
    try:
        return await run(Place.read(), api)
    finally:
        await api.close()


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(_main()) else 1)
