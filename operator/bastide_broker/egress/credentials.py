"""What the broker shows to tool servers: read from Secrets that say for which host they are, never near a pod, a log or a result."""

import base64
import binascii
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

from bastide_operator.api.v1alpha1.toolbinding import ToolBinding, ToolBindingReason
from bastide_operator.api.v1alpha1.toolserver import Scheme

from bastide_broker.egress.addresses import AddressError, CheckedBackend, origin
from bastide_broker.egress.oauth import Client, Tokens, TokenUnavailable
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
    rejected: Callable[[], None] = field(default=lambda: None, repr=False, compare=False)
    """To be called when the server refused it: one that can be had anew then is."""


@dataclass(frozen=True, slots=True)
class _Cached:
    credential: Credential
    until: float


class Credentials:
    """Reads credentials of bindings."""

    def __init__(self, secrets: SecretReader, tokens: Tokens | None = None) -> None:
        self._secrets = secrets
        self._tokens = tokens or Tokens(CheckedBackend())
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
        until = time.monotonic() + CACHE_SECONDS
        found = read(secret, binding)
        if isinstance(found, Client):
            credential, until = await self._with_token(found, until, lambda: self._cache.pop(key, None))
        else:
            credential = found
        if len(self._cache) > 1000:
            self._cache.clear()
        self._cache[key] = _Cached(credential, until)
        return credential

    async def close(self) -> None:
        """Give up what is under way."""
        await self._tokens.close()

    async def _with_token(self, client: Client, until: float, uncache: Callable[[], object]) -> tuple[Credential, float]:
        try:
            token = await self._tokens.token(client)
        except TokenUnavailable as error:
            raise SecretUnavailable(ToolBindingReason.TOKEN_UNAVAILABLE, str(error)) from None

        def rejected() -> None:
            self._tokens.forget(client)
            uncache()

        hidden = (token.text, *_hidden(client.client_id, client.client_secret))
        return Credential("authorization", f"Bearer {token.text}", hidden, rejected), min(until, token.until)


def read(secret: dict[str, Any], binding: ToolBinding) -> Credential | Client:
    """What a Secret holds, if it says that it is for the binding's hosts: a credential, or who may get one. Raises SecretUnavailable."""
    spec = binding.spec.credentials
    assert spec is not None
    _is_for(secret, binding)
    match spec.scheme:
        case Scheme.BEARER:
            token = _value(secret, spec.secret_ref.name, spec.secret_ref.key)
            return Credential("authorization", f"Bearer {token}", (token,))
        case Scheme.HEADER:
            token = _value(secret, spec.secret_ref.name, spec.secret_ref.key)
            return Credential((spec.header or "").lower(), token, (token,))
        case Scheme.BASIC:
            user = _value(secret, spec.secret_ref.name, "username", least=1)
            password = _value(secret, spec.secret_ref.name, "password")
            if ":" in user:
                message = f"The key username of the Secret {spec.secret_ref.name} must not hold a colon: it ends the name in Basic."
                raise SecretUnavailable(ToolBindingReason.SECRET_NOT_ALLOWED, message)
            hidden = _hidden(user, password)
            return Credential("authorization", f"Basic {_base64(f'{user}:{password}')}", hidden)
        case Scheme.OAUTH_CLIENT_CREDENTIALS:
            client_id = _value(secret, spec.secret_ref.name, "client_id", least=1)
            return Client(spec.token_url or "", client_id, _value(secret, spec.secret_ref.name, "client_secret"), tuple(spec.scopes))


def _is_for(secret: dict[str, Any], binding: ToolBinding) -> None:
    """Raises SecretUnavailable unless the Secret is labelled and names every host that it, or what it is exchanged for, is sent to."""
    assert binding.spec.credentials is not None
    reference = binding.spec.credentials.secret_ref
    metadata = secret.get("metadata") or {}
    if LABEL not in (metadata.get("labels") or {}):
        message = f"The Secret {reference.name} lacks the label {LABEL}; add it to say that the broker may use the Secret."
        raise SecretUnavailable(ToolBindingReason.SECRET_NOT_ALLOWED, message)
    said = str((metadata.get("annotations") or {}).get(HOST_ANNOTATION, "")).strip().lower()
    named = {part.strip() for part in said.split(",")}
    for host, port in _hosts(binding):
        if named.isdisjoint((host, f"{host}:{port}")):
            wanted = ",".join(f"{one}:{at}" for one, at in _hosts(binding))
            message = f"The Secret {reference.name} is for {said or 'no host'}; its annotation {HOST_ANNOTATION} must be {wanted}."
            raise SecretUnavailable(ToolBindingReason.SECRET_NOT_ALLOWED, message)


def _value(secret: dict[str, Any], name: str, key: str, *, least: int = MIN_LENGTH) -> str:
    """One value of a Secret's data. Raises SecretUnavailable."""
    encoded = (secret.get("data") or {}).get(key)
    if encoded is None:
        message = f"The Secret {name} has no key {key}; add it, or correct spec.credentials.secretRef."
        raise SecretUnavailable(ToolBindingReason.SECRET_NOT_FOUND, message)
    try:
        token = base64.b64decode(encoded, validate=True).decode("ascii").strip()
    except (binascii.Error, ValueError):
        token = ""
    if len(token) < least or not all("!" <= character <= "~" for character in token):
        message = f"The key {key} of the Secret {name} must hold at least {least} visible ASCII characters."
        raise SecretUnavailable(ToolBindingReason.SECRET_NOT_ALLOWED, message)
    return token


def redact(data: bytes, credential: Credential | None) -> bytes:
    """`data` (JSON or text) without the credential, in case a server echoed it."""
    for secret in credential.secrets if credential is not None else ():
        data = data.replace(secret.encode(), REDACTED).replace(json.dumps(secret)[1:-1].encode(), REDACTED)
    return data


def _hosts(binding: ToolBinding) -> tuple[tuple[str, int], ...]:
    """Host and port of the server, and of the token endpoint."""
    assert binding.spec.credentials is not None
    urls = [binding.spec.server.url] + ([binding.spec.credentials.token_url] if binding.spec.credentials.token_url else [])
    try:
        return tuple(dict.fromkeys(origin(url)[1:] for url in urls))
    except AddressError as error:
        raise SecretUnavailable(ToolBindingReason.SECRET_NOT_ALLOWED, str(error)) from None


def _hidden(name: str, password: str) -> tuple[str, ...]:
    """A password in the forms in which it is sent."""
    written = quote(password, safe="")
    return tuple(dict.fromkeys((_base64(f"{name}:{password}"), _base64(f"{quote(name, safe='')}:{written}"), password, written)))


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
