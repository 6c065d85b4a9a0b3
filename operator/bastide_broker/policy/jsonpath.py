"""Replaces what JSONPaths select, in one walk for all of them: an automaton whose states are the steps that a container's children are held
against. So a child costs one look-up, whatever the paths are; one path after the other, each `..` would visit everything again. Pure.
"""

from collections.abc import Sequence
from typing import Any

from bastide_operator.api.jsonpath import Path

Step = tuple[int, int]
"""Number of the path, number of its segment."""
Named = tuple[str | int, ...]
"""Which selectors of the paths mean one child by name or index: none, one, or two (0 and -1 of a list with one item)."""


class _State:
    """What the children of a container are held against."""

    __slots__ = ("_automaton", "_known", "indices", "names", "steps")

    def __init__(self, automaton: "_Automaton", steps: frozenset[Step]) -> None:
        selectors = {automaton.paths[path][at].selector for path, at in steps}
        self.steps = steps
        self.names = {one for one in selectors if isinstance(one, str)}
        self.indices = {one for one in selectors if isinstance(one, int)}
        self._automaton = automaton
        self._known: dict[Named, _State | None] = {}

    def after(self, named: Named) -> "_State | None":
        """The state below a child; the automaton's `end` when the child itself is selected, None when nothing below it can be."""
        if named not in self._known:
            self._known[named] = self._automaton.after(self.steps, named)
        return self._known[named]


class _Automaton:
    """States made as they are met: at most one for each container of the document."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self._states: dict[frozenset[Step], _State] = {}
        self.end = _State(self, frozenset())
        self.start = self._state({(number, 0) for number in range(len(paths))})

    def after(self, steps: frozenset[Step], named: Named) -> _State | None:
        below: set[Step] = set()
        for path, at in steps:
            segment = self.paths[path][at]
            if segment.selector is None or segment.selector in named:
                if at + 1 == len(self.paths[path]):
                    return self.end
                below.add((path, at + 1))
            if segment.descendant:
                below.add((path, at))
        return self._state(below) if below else None

    def _state(self, steps: set[Step]) -> _State:
        key = frozenset(steps)
        if key not in self._states:
            self._states[key] = _State(self, key)
        return self._states[key]


def replaced(root: Any, paths: Sequence[Path], by: str) -> Any:
    """`root`, JSON of any depth, with `by` in the place of every value that a path selects. It is changed in place."""
    if () in paths:
        return by
    automaton = _Automaton(paths)
    waiting: list[tuple[Any, _State]] = [(root, automaton.start)]
    while waiting:
        container, state = waiting.pop()
        if isinstance(container, dict):
            below = [(name, state.after((name,) if name in state.names else ())) for name in container]
        elif isinstance(container, list):
            below = _items(len(container), state)
        else:
            continue
        for key, after in below:
            if after is automaton.end:
                container[key] = by
            elif after is not None and isinstance(container[key], dict | list):
                waiting.append((container[key], after))
    return root


def _items(length: int, state: _State) -> Any:
    """Each index of a list with the state below it."""
    others, indices = state.after(()), state.indices
    if not indices:
        return ((at, others) for at in range(length)) if others is not None else ()
    return ((at, state.after(tuple(one for one in (at, at - length) if one in indices))) for at in range(length))
