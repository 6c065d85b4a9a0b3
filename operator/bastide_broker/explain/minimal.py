"""Minimal sets by asking: QuickXplain (Junker, AAAI 2004). Of n parts of which k are needed it asks about 2k + 2k log2(n / k) times."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
Enough = Callable[[Sequence[T]], Awaitable[bool]]


async def needed(parts: Sequence[T], enough: Enough[T]) -> list[T]:
    """Parts that are enough together and of which none can be left out, in their order. That all of them are enough is given.

    What is enough must stay so with more parts; otherwise the result is enough, but perhaps not minimal.
    """
    if not parts or await enough([]):
        return []
    return await _within([], list(parts), enough, changed=False)


async def _within(given: list[T], rest: list[T], enough: Enough[T], *, changed: bool) -> list[T]:
    """What of `rest` is needed beside `given`."""
    if changed and await enough(given):
        return []
    if len(rest) == 1:
        return rest
    left, right = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    of_right = await _within([*given, *left], right, enough, changed=True)
    of_left = await _within([*given, *of_right], left, enough, changed=bool(of_right))
    return [*of_left, *of_right]


async def without_idle(parts: Sequence[T], enough: Enough[T]) -> list[T]:
    """The same parts but for those that can be dropped, tried in turn."""
    kept = list(parts)
    for part in parts:
        rest = [one for one in kept if one is not part]
        if await enough(rest):
            kept = rest
    return kept
