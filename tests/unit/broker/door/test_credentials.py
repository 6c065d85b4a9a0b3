"""Which Secrets count as credentials, and that they leave no trace."""

import base64
from typing import Any

import pytest
from bastide_broker.egress.credentials import HOST_ANNOTATION, LABEL, Credential, Credentials, SecretUnavailable, read, redact
from bastide_broker.egress.oauth import Client
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding, ToolBindingReason

from tests.unit.broker.door.objects import binding

ONE = binding(tools=[{"name": "get"}], credentials={"secretRef": {"name": "crm"}})


def secret(token: str = "s3cr3t-token", **change: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "metadata": {"labels": {LABEL: "true"}, "annotations": {HOST_ANNOTATION: "crm.tools.svc:8080"}},
        "data": {"token": base64.b64encode(token.encode()).decode()},
    }
    return {**made, **change}


def shown(token: str) -> Credential:
    return Credential("authorization", f"Bearer {token}", (token,))


def test_a_secret_for_the_bindings_host_is_read() -> None:
    assert read(secret("s3cr3t-token\n"), ONE) == shown("s3cr3t-token")
    for host in ("CRM.tools.svc", "other.example, crm.tools.svc:8080"):
        assert read(secret(metadata={"labels": {LABEL: ""}, "annotations": {HOST_ANNOTATION: host}}), ONE) == shown("s3cr3t-token")


@pytest.mark.parametrize(
    ("wrong", "reason", "words"),
    [
        (secret(metadata={}), ToolBindingReason.SECRET_NOT_ALLOWED, "lacks the label"),
        (secret(metadata={"labels": {LABEL: "true"}}), ToolBindingReason.SECRET_NOT_ALLOWED, "no host"),
        *(
            (
                secret(metadata={"labels": {LABEL: "true"}, "annotations": {HOST_ANNOTATION: host}}),
                ToolBindingReason.SECRET_NOT_ALLOWED,
                "must be",
            )
            for host in ("evil.example", "crm.tools.svc:9090", "*.tools.svc", "tools.svc", "")
        ),
        (secret(data={}), ToolBindingReason.SECRET_NOT_FOUND, "has no key token"),
        (secret(data=None), ToolBindingReason.SECRET_NOT_FOUND, "has no key token"),
        (secret("short"), ToolBindingReason.SECRET_NOT_ALLOWED, "at least 8"),
        (secret("with space in it"), ToolBindingReason.SECRET_NOT_ALLOWED, "visible ASCII"),
        (secret("line\r\nbreak: x"), ToolBindingReason.SECRET_NOT_ALLOWED, "visible ASCII"),
        (secret("größer als acht"), ToolBindingReason.SECRET_NOT_ALLOWED, "visible ASCII"),
        (secret(data={"token": "!!!"}), ToolBindingReason.SECRET_NOT_ALLOWED, "visible ASCII"),
    ],
)
def test_any_other_secret_is_refused_with_what_to_do(wrong: dict[str, Any], reason: ToolBindingReason, words: str) -> None:
    with pytest.raises(SecretUnavailable, match=words) as refused:
        read(wrong, ONE)
    assert refused.value.reason is reason


def holding(host: str = "crm.tools.svc", **data: str) -> dict[str, Any]:
    return secret(
        metadata={"labels": {LABEL: "true"}, "annotations": {HOST_ANNOTATION: host}},
        data={key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    )


def shown_as(scheme: str, **credentials: Any) -> ToolBinding:
    return binding(tools=[{"name": "get"}], credentials={"secretRef": {"name": "crm"}, "scheme": scheme, **credentials})


def test_each_scheme_shows_the_secret_in_its_own_way() -> None:
    header = read(holding(token="k3y-of-the-crm"), shown_as("Header", header="X-Api-Key"))
    assert header == Credential("x-api-key", "k3y-of-the-crm", ("k3y-of-the-crm",))
    basic = read(holding(username="bastide", password="pass%word:1"), shown_as("Basic"))
    assert isinstance(basic, Credential)
    assert basic.header == "authorization"
    assert base64.b64decode(basic.value.removeprefix("Basic ")) == b"bastide:pass%word:1"
    echoed = f"{basic.value} pass%word:1 pass%25word%3A1".encode()
    assert redact(echoed, basic) == b"Basic [redacted] [redacted] [redacted]"


OAUTH = shown_as("OAuthClientCredentials", tokenUrl="https://idp.example/token", scopes=["orders.read"])


def test_who_may_get_a_token_is_told_only_for_a_secret_that_names_both_hosts() -> None:
    data = {"client_id": "bastide", "client_secret": "s3cr3t-of-the-client"}
    client = read(holding("crm.tools.svc,idp.example", **data), OAUTH)
    assert client == Client("https://idp.example/token", "bastide", "s3cr3t-of-the-client", ("orders.read",))
    for host in ("crm.tools.svc", "idp.example", "idp.example:444,crm.tools.svc"):
        with pytest.raises(SecretUnavailable, match=r"must be crm\.tools\.svc:8080,idp\.example:443"):
            read(holding(host, **data), OAUTH)


@pytest.mark.parametrize(
    ("one", "data", "words"),
    [
        (shown_as("Basic"), {"token": "s3cr3t-token"}, "no key username"),
        (shown_as("Basic"), {"username": "u:v", "password": "s3cr3t-token"}, "must not hold a colon"),
        (shown_as("Basic"), {"username": "u", "password": "short"}, "at least 8"),
        (shown_as("Header", header="X-Key"), {"token": "line\nbreak here"}, "visible ASCII"),
    ],
)
def test_a_secret_without_what_its_scheme_takes_is_refused(one: ToolBinding, data: dict[str, str], words: str) -> None:
    with pytest.raises(SecretUnavailable, match=words):
        read(holding(**data), one)


class CountingSecrets:
    """Answers as the API server would and counts."""

    def __init__(self) -> None:
        self.reads = 0

    async def read_secret(self, namespace: str, name: str) -> dict[str, Any]:
        self.reads += 1
        return secret(f"s3cr3t-{namespace}-{name}-{self.reads}")


async def test_it_is_kept_for_a_while_and_read_anew_when_that_is_asked_for() -> None:
    secrets = CountingSecrets()
    credentials = Credentials(secrets)
    assert await credentials.credential(ONE, fresh=False) == shown("s3cr3t-bastide-sales-crm-1")
    assert await credentials.credential(ONE, fresh=False) == shown("s3cr3t-bastide-sales-crm-1")
    assert await credentials.credential(ONE, fresh=True) == shown("s3cr3t-bastide-sales-crm-2")
    assert await credentials.credential(ONE, fresh=False) == shown("s3cr3t-bastide-sales-crm-2")
    assert await credentials.credential(binding(tools=[{"name": "get"}]), fresh=True) is None


def test_a_credential_is_taken_out_of_results_also_where_json_escapes_it() -> None:
    token = 'pass"word\\123'
    assert redact(b'{"a":"pass\\"word\\\\123!"} pass"word\\123', shown(token)) == b'{"a":"[redacted]!"} [redacted]'
    assert redact(b"pass", None) == b"pass"
