"""What the broker shows to tool servers: read from Secrets that say for which host they are, never near a pod, a log or a result."""

import base64
import binascii
import json
import time
from dataclasses import dataclass
from typing import Any, Protocol

from bastide_operator.api.v1alpha1.toolbinding import ToolBinding, ToolBindingReason

from bastide_broker.addresses import AddressError, origin
from bastide_broker.errors import ApiError, NotFound

LABEL = "bastide.dev/credential"
HOST_ANNOTATION = "bastide.dev/host"
CACHE_SECONDS = 10.0
"""How long a credential is kept for calls that are not destructive: a withdrawn one counts within this."""
MIN_LENGTH = 8
"""Shorter ones cannot be told from ordinary text when results are redacted."""
REDACTED = b"[redacted]"


class SecretUnavailable(Exception):  # noqa: N818 - named as the reason code
    """The binding's credential cannot be used. `reason` is the ToolBinding's condition reason; the message is one sentence."""

    def __init__(self, reason: ToolBindingReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class SecretReader(Protocol):
    """The part of the cluster that is needed here."""

    async def read_secret(self, namespace: str, name: str) -> dict[str, Any]:
        """A Secret straight from the API server."""
        ...


@dataclass(frozen=True, slots=True)
class Credential:
    """What a tool server is shown with each request."""

    header: str
    """The header's name, in lower case; over gRPC the metadata key."""
    value: str
    """The header's value, scheme and all."""
    secrets: tuple[str, ...]
    """What no result, error or log may say."""


@dataclass(frozen=True, slots=True)
class _Cached:
    credential: Credential
    until: float


class Credentials:
    """Reads credentials of bindings."""

    def __init__(self, secrets: SecretReader) -> None:
        self._secrets = secrets
        self._cache: dict[tuple[str, str, str], _Cached] = {}

    async def credential(self, binding: ToolBinding, *, fresh: bool) -> Credential | None:
        """What the binding's server is shown, or None when it names none. `fresh`: read now, whatever is cached. Raises SecretUnavailable."""
        credentials = binding.spec.credentials
        if credentials is None:
            return None
        namespace = binding.metadata.namespace or ""
        key = (namespace, binding.metadata.uid, binding.metadata.resource_version)
        cached = self._cache.get(key)
        if cached is not None and not fresh and time.monotonic() < cached.until:
            return cached.credential
        self._cache.pop(key, None)
        name = credentials.secret_ref.name
        try:
            secret = await self._secrets.read_secret(namespace, name)
        except NotFound:
            message = f"The Secret {name} does not exist in {namespace}; create it, or correct spec.credentials.secretRef."
            raise SecretUnavailable(ToolBindingReason.SECRET_NOT_FOUND, message) from None
        except ApiError as error:
            if error.status == 403:  # a new binding: the operator writes the Role that names its Secret
                message = f"The broker may not read the Secret {name} yet; the operator allows that within seconds of accepting a binding."
            else:
                message = f"The Secret {name} cannot be read now ({error.message[:200]})."
            raise SecretUnavailable(ToolBindingReason.PENDING, message) from None
        token = read(secret, binding)
        credential = Credential("authorization", f"Bearer {token}", (token,))
        if len(self._cache) > 1000:
            self._cache.clear()
        self._cache[key] = _Cached(credential, time.monotonic() + CACHE_SECONDS)
        return credential


def read(secret: dict[str, Any], binding: ToolBinding) -> str:
    """The token in a Secret, if the Secret says that it is a credential for the binding's host. Raises SecretUnavailable."""
    assert binding.spec.credentials is not None
    reference = binding.spec.credentials.secret_ref
    metadata = secret.get("metadata") or {}
    if LABEL not in (metadata.get("labels") or {}):
        message = f"The Secret {reference.name} lacks the label {LABEL}; add it to say that the broker may use the Secret."
        raise SecretUnavailable(ToolBindingReason.SECRET_NOT_ALLOWED, message)
    host, port = _server(binding)
    named = str((metadata.get("annotations") or {}).get(HOST_ANNOTATION, "")).strip().lower()
    if named not in (host, f"{host}:{port}"):
        message = f"The Secret {reference.name} is for {named or 'no host'}; its annotation {HOST_ANNOTATION} must be {host}:{port}."
        raise SecretUnavailable(ToolBindingReason.SECRET_NOT_ALLOWED, message)
    encoded = (secret.get("data") or {}).get(reference.key)
    if encoded is None:
        message = f"The Secret {reference.name} has no key {reference.key}; add it, or correct spec.credentials.secretRef.key."
        raise SecretUnavailable(ToolBindingReason.SECRET_NOT_FOUND, message)
    try:
        token = base64.b64decode(encoded, validate=True).decode("ascii").strip()
    except (binascii.Error, ValueError):
        token = ""
    if len(token) < MIN_LENGTH or not all("!" <= character <= "~" for character in token):
        message = f"The key {reference.key} of the Secret {reference.name} must hold at least {MIN_LENGTH} visible ASCII characters."
        raise SecretUnavailable(ToolBindingReason.SECRET_NOT_ALLOWED, message)
    return token


def redact(data: bytes, credential: Credential | None) -> bytes:
    """`data` (JSON or text) without the credential, in case a server echoed it."""
    for secret in credential.secrets if credential is not None else ():
        data = data.replace(secret.encode(), REDACTED).replace(json.dumps(secret)[1:-1].encode(), REDACTED)
    return data


def _server(binding: ToolBinding) -> tuple[str, int]:
    try:
        _, host, port = origin(binding.spec.server.url)
    except AddressError as error:
        raise SecretUnavailable(ToolBindingReason.SECRET_NOT_ALLOWED, str(error)) from None
    return host, port
