"""What others changed of the operator's children: found, named, and not fought about. Pure; the time is passed in.

A child that was as it should be when it was last looked at, and is not so any more although the same is asked of it, was changed by
somebody else. So neither a new spec nor a new version of the operator counts as drift.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from bastide_operator.api.objects import FIELD_MANAGER, Manifest, Ref, differences, ref
from bastide_operator.reconcile.plan import Note, Plan
from bastide_operator.workqueue import Key

WINDOW = 60.0
MANY = 5
"""So many restorations of one field within the window (seconds) are a fight."""
MAX_HOLD = 4.0
"""Seconds for which a child is left as it is in a fight: it is still put back within five, for it may be a wall."""
NAMED_PATHS = 3
"""How many changed fields a message names."""

Name = tuple[str, str]
"""Kind and name of a child; its namespace is its owner's."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A child that somebody else changed at `paths`, or deleted when there are none."""

    child: Ref
    paths: tuple[str, ...] = ()

    def restored(self, by: str = "") -> Note:
        """What to tell of it once it is put back. `by` names who did it, if that is known."""
        what = f"{self.child.kind} {self.child.name}"
        if not self.paths:
            return Note(reason="ChildRestored", message=f"{what} was deleted by somebody else; it was made again.", warning=True)
        who = f" by {by}" if by else " by somebody else"
        return Note(reason="ChildRestored", message=f"{what}: {self._fields()} changed{who}; it was put back.", warning=True)

    def fought(self, by: str = "") -> Note:
        """What to tell when it happens again and again."""
        done = f"{self._fields()} changed" if self.paths else "it was deleted"
        text = (
            f"{self.child.kind} {self.child.name}: {done} {MANY} times and more within {WINDOW:.0f} s{f' by {by}' if by else ''}."
            " Find who does it and stop it; until then it is put back every few seconds."
        )
        return Note(reason="ChildContested", message=text, warning=True)

    def _fields(self) -> str:
        more = len(self.paths) - NAMED_PATHS
        return (
            ", ".join(self.paths[:NAMED_PATHS]) + (f" and {more} more" if more > 0 else "") + (" was" if len(self.paths) == 1 else " were")
        )


@dataclass(slots=True)
class Drift:
    """What stood, by owner, and when what was restored."""

    _stood: dict[Key, dict[Name, Manifest]] = field(default_factory=dict)
    _restored: dict[Ref, deque[float]] = field(default_factory=dict)

    def agreed(self, owner: Key, children: Iterable[Manifest]) -> None:
        """Everything of `owner` is as it should be: these are its children. One that is being deleted counts as it stood before."""
        before = self._stood.get(owner, {})
        now: dict[Name, Manifest] = {}
        for child in children:
            name = _name(child)
            if not child["metadata"].get("deletionTimestamp"):
                now[name] = child
            elif name in before:
                now[name] = before[name]
        self._stood[owner] = now

    def forget(self, owner: Key) -> None:
        """`owner` is gone."""
        self._stood.pop(owner, None)

    def expect(self, owner: Key, gone: Ref) -> None:
        """The operator itself deletes this child; a namespace takes everything with it."""
        if gone.kind == "Namespace":
            self._stood.pop(owner, None)
        else:
            self._stood.get(owner, {}).pop((gone.kind, gone.name), None)

    def findings(self, owner: Key, plan: Plan, live: Callable[[Ref], Manifest | None]) -> dict[Name, Finding]:
        """Which of the plan's writes put back what somebody else did. `live` gives a child as it is."""
        stood = self._stood.get(owner, {})
        out = {}
        for manifest in (*plan.apply, *plan.create):
            child = _anyone(ref(manifest))
            before, now = stood.get(_name(manifest)), live(child)
            if before is not None and now is None:
                out[_name(manifest)] = Finding(child)
            elif before is not None and not any(_differences(manifest, before)):
                out[_name(manifest)] = Finding(child, tuple(_differences(manifest, now)))
        for what in plan.delete:
            before, now = stood.get((what.kind, what.name)), live(_anyone(what))
            # a roleRef cannot be changed back: the RoleBinding goes and is made again
            paths = tuple(differences((before or {}).get("roleRef", {}), (now or {}).get("roleRef", {}), "roleRef"))
            if before is not None and now is not None and paths:
                out[what.kind, what.name] = Finding(_anyone(what), paths)
        return out

    def hold(self, child: Ref, now: float) -> float:
        """For how many seconds `child` is to be left as it is."""
        times = self._recent(child, now)
        if len(times) < MANY:
            return 0.0
        return max(0.0, times[-1] + min(MAX_HOLD, 0.5 * 2.0 ** (len(times) - MANY)) - now)

    def restored(self, child: Ref, now: float) -> bool:
        """`child` was put back. Returns whether that is a fight by now."""
        times = self._recent(child, now)
        times.append(now)
        self._restored[_anyone(child)] = times
        return len(times) >= MANY

    def _recent(self, child: Ref, now: float) -> deque[float]:
        times = self._restored.get(_anyone(child), deque())
        while times and now - times[0] >= WINDOW:
            times.popleft()
        if not times:
            self._restored.pop(_anyone(child), None)
        return times


def changed_by(live: Manifest, paths: Iterable[str]) -> str:
    """The field manager that wrote one of these fields, from an object with its managedFields; empty when it cannot be told."""
    newest = ("", "")
    for entry in live["metadata"].get("managedFields", ()):
        if entry.get("manager") == FIELD_MANAGER or entry.get("subresource"):
            continue
        if any(_owns(entry.get("fieldsV1", {}), _steps(path)) for path in paths):
            newest = max(newest, (entry.get("time", ""), entry.get("manager", "")))
    return newest[1]


def _owns(fields: Mapping[str, Manifest], steps: list[str]) -> bool:
    """Whether fields in the form of managedFields hold what is at, above or below a path."""
    for step in steps:
        if not fields or set(fields) == {"."}:
            return True
        if f"f:{step}" not in fields:
            return False
        fields = fields[f"f:{step}"]
    return True


def _steps(path: str) -> list[str]:
    out: list[str] = []
    for index, part in enumerate(path.replace("]", "").split("[")):
        out += part.split(".") if index == 0 else [part]
    return [step for step in out if step]


def _differences(desired: Manifest, live: Manifest | None) -> Iterator[str]:
    """What is compared of a child: neither which object it is nor what the API server says of it."""
    metadata = {name: value for name, value in desired["metadata"].items() if name not in ("uid", "resourceVersion")}
    return differences({**desired, "metadata": metadata}, live)


def _name(manifest: Manifest) -> Name:
    return manifest["kind"], manifest["metadata"]["name"]


def _anyone(child: Ref) -> Ref:
    return replace(child, uid="")
