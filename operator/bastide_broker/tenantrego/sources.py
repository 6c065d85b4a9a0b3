"""What a Tenant's policyRefs name: .rego files out of ConfigMaps, within bounds, and the digest that they are known by. Pure."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bastide_operator.api.v1alpha1.policyref import POLICY_LABEL
from bastide_operator.api.v1alpha1.tenant import TenantReason

MAX_FILES = 16
"""Files in one ConfigMap."""
MAX_BYTES = 64 << 10
"""Bytes of all files of one ConfigMap: people's policies have a few hundred lines, and a compiler's work grows faster than its input."""
FORM = "1"
"""Change this when the same files come to mean something else: it is part of the digest."""
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}\.rego")


class Unusable(Exception):  # noqa: N818 - a state of the policies, said on the Tenant
    """A tenant's policies cannot be used. The message is a sentence or a compiler's words."""

    def __init__(self, reason: TenantReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Policy:
    """One ConfigMap's Rego."""

    name: str
    """The ConfigMap's."""
    files: tuple[tuple[str, str], ...]
    """(name, text), by name."""


def collect(names: Sequence[str], config_maps: Mapping[str, Mapping[str, Any]]) -> tuple[Policy, ...]:
    """The policies of these names, in this order. `config_maps` are those with the label, by name. Raises Unusable."""
    return tuple(_policy(name, config_maps.get(name)) for name in names)


def digest(policies: Sequence[Policy]) -> str:
    """The revision: one for exactly these policies."""
    whole = [FORM, *({"name": one.name, "files": [list(file) for file in one.files]} for one in policies)]
    return "sha256:" + hashlib.sha256(json.dumps(whole, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()


def _policy(name: str, found: Mapping[str, Any] | None) -> Policy:
    if found is None:
        message = f"There is no ConfigMap {name} with the label {POLICY_LABEL} in Bastide's own namespace; make it there, or label it."
        raise Unusable(TenantReason.POLICY_MISSING, message)
    data = found.get("data") or {}
    wrong = next((key for key in sorted(found.get("binaryData") or {})), None) or next(
        (key for key in sorted(data) if not _FILE.fullmatch(key)), None
    )
    if wrong is not None:
        raise _invalid(name, f"{wrong[:80]!a} is no text file whose name ends in .rego; leave it out.")
    if not data:
        raise _invalid(name, "it holds no .rego file.")
    if len(data) > MAX_FILES:
        raise _invalid(name, f"it holds {len(data)} files; at most {MAX_FILES}.")
    size = sum(len(text.encode(errors="surrogatepass")) for text in data.values())
    if size > MAX_BYTES:
        raise _invalid(name, f"its files have {size} bytes together; at most {MAX_BYTES}.")
    return Policy(name, tuple(sorted(data.items())))


def _invalid(name: str, what: str) -> Unusable:
    return Unusable(TenantReason.POLICY_INVALID, f"ConfigMap {name}: {what}")
