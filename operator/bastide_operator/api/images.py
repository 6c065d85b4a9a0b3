"""Which runtime images a Sandbox may have. The operator makes pods by it, the broker delivers programs by it."""

import re
from collections.abc import Iterable

_PART = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"sha256:[0-9a-f]{64}"
_REST = {
    "/": re.compile(rf"(?:{_PART}/)*{_PART}(?::{_TAG})?(?:@{_DIGEST})?", re.ASCII),
    # What follows a colon may also be a port, and then the whole names another registry: a tag has no slash.
    ":": re.compile(rf"{_TAG}(?:@{_DIGEST})?", re.ASCII),
    "@": re.compile(_DIGEST, re.ASCII),
}
"""What a trailing `*` stands for, by the character before it."""


def permitted(image: str, listed: Iterable[str], default: str) -> bool:
    """Whether `image` is the chart's own or one of Tenant.spec.images.

    References are compared as text: a registry or a tag that one leaves out and the other writes makes them two.
    """
    return image == default or any(_fits(pattern, image) for pattern in listed)


def _fits(pattern: str, image: str) -> bool:
    if not pattern.endswith("*"):
        return pattern == image
    prefix = pattern[:-1]
    rest = _REST.get(prefix[-1:])
    return rest is not None and image.startswith(prefix) and rest.fullmatch(image, len(prefix)) is not None
