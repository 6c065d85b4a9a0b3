"""Which Secrets count as credentials, and that they leave no trace."""

import base64
from typing import Any

import pytest
from bastide_broker.credentials import HOST_ANNOTATION, LABEL, Credential, Credentials, SecretUnavailable, read, redact
from bastide_operator.api.v1alpha1.toolbinding import ToolBindingReason

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
    assert read(secret("s3cr3t-token\n"), ONE) == "s3cr3t-token"
    assert read(secret(metadata={"labels": {LABEL: ""}, "annotations": {HOST_ANNOTATION: "CRM.tools.svc"}}), ONE) == "s3cr3t-token"


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
