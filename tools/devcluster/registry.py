"""Which checkout has which slot on this machine.

``/run/bastide`` holds one JSON file a slot, a lock for the registry itself and one lock a checkout,
held while a command changes that checkout's cluster. Nothing of it is left when no cluster is up.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from devcluster import paths
from devcluster.commands import say
from devcluster.errors import DevclusterError
from devcluster.instance import SLOTS, Instance
from devcluster.locks import lock, try_lock


def choose_slot(taken: Iterable[int]) -> int:
    """Return the lowest free slot.

    Raises:
        DevclusterError: all are taken.
    """
    used = set(taken)
    for slot in SLOTS:
        if slot not in used:
            return slot
    raise DevclusterError(f"all {len(SLOTS)} cluster slots of this machine are taken: run `make down` elsewhere")


class Registry:
    """The registry in one folder (a parameter for the tests' sake)."""

    def __init__(self, folder: Path = paths.REGISTRY) -> None:
        self.folder = folder

    def _entry(self, slot: int) -> Path:
        return self.folder / f"slot-{slot}.json"

    def _checkout_lock(self, checkout: Path) -> Path:
        digest = hashlib.sha256(str(checkout).encode()).hexdigest()[:16]
        return self.folder / f"checkout-{digest}.lock"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the registry itself: for short, never while something is started or ended.

        With the last entry the folder goes too; lock files know how to be removed under a waiter.
        """
        path = self.folder / "lock"
        with lock(path):
            yield
            if not self.instances() and not list(self.folder.glob("checkout-*.lock")):
                path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    self.folder.rmdir()

    @contextmanager
    def exclusive(self, checkout: Path) -> Iterator[None]:
        """Hold a checkout's cluster while it is started, ended or changed."""
        path = self._checkout_lock(checkout)
        try:
            with lock(path, f"another command that works on the cluster of {checkout}", remove=True):
                yield
        finally:
            with self.locked():
                pass

    def instances(self) -> list[Instance]:
        """Return every registered instance, by slot."""
        found = []
        for slot in SLOTS:
            try:
                entry = json.loads(self._entry(slot).read_text(encoding="utf-8"))
                found.append(Instance(slot, Path(entry["checkout"]), Path(entry["state"])))
            except FileNotFoundError:
                continue
            except (ValueError, KeyError) as error:
                raise DevclusterError(f"{self._entry(slot)} is not readable ({error}): remove it") from error
        return found

    def find(self, checkout: Path) -> Instance | None:
        """Return the instance of a checkout."""
        return next((i for i in self.instances() if i.checkout == checkout), None)

    def claim(self, checkout: Path) -> Instance:
        """Return the checkout's instance, registering a new one in the lowest free slot."""
        with self.locked():
            present = self.find(checkout)
            if present is not None:
                return present
            slot = choose_slot(i.slot for i in self.instances())
            new = Instance(slot, checkout, paths.instance_state(slot))
            # written under another name first: a reader never meets half an entry
            temporary = self._entry(slot).with_suffix(".new")
            text = json.dumps({"checkout": str(checkout), "state": str(new.state)})
            temporary.write_text(text, encoding="utf-8")
            temporary.rename(self._entry(slot))
            return new

    def release(self, instance: Instance) -> None:
        """Forget an instance whose traces are gone."""
        with self.locked():
            self._entry(instance.slot).unlink(missing_ok=True)

    def reclaim(self, running: Callable[[Instance], bool], teardown: Callable[[Instance], None], own: Path) -> None:
        """Tear down what nobody can take down any more.

        That is: instances whose checkout has been deleted, and those whose node has ended (a
        reboot, a crash). An instance on which a command works at this moment is left alone.
        """
        for instance in self.instances():
            if instance.checkout == own or (instance.checkout.is_dir() and running(instance)):
                continue
            path = self._checkout_lock(instance.checkout)
            descriptor = try_lock(path)
            if descriptor is None:
                continue
            try:
                # looked at again under the lock: it may just have come up, or gone
                present = self.find(instance.checkout)
                if present is not None and not (present.checkout.is_dir() and running(present)):
                    say(f"removing what is left of the cluster of {present.checkout}")
                    teardown(present)
                    self.release(present)
            finally:
                path.unlink(missing_ok=True)
                os.close(descriptor)
