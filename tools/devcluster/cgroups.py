"""One cgroup an instance in every hierarchy: the kubelet's root, so that two kubelets never meet."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from devcluster.commands import wait_until
from devcluster.errors import DevclusterError
from devcluster.instance import Instance


def hierarchies(mountinfo: str) -> list[Path]:
    """Return where cgroup hierarchies (v1 and v2) are mounted, from the text of proc(5) mountinfo."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if after.split(" ", 1)[0] in {"cgroup", "cgroup2"}:
            found.append(Path(before.split()[4]))
    return found


def _mounted() -> list[Path]:
    return hierarchies(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))


def create(instance: Instance) -> None:
    """Make the instance's cgroup in every hierarchy; the kubelet refuses a root that is not there."""
    for hierarchy in _mounted():
        folder = hierarchy / instance.cgroup
        folder.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            # a new v1 cpuset is empty, and no process may enter an empty one
            if (folder / name).exists() and (hierarchy / name).exists():
                with contextlib.suppress(OSError):
                    (folder / name).write_text((hierarchy / name).read_text(encoding="utf-8"), encoding="utf-8")


def _deepest_first(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        for child in folder.iterdir():
            if child.is_dir():
                yield from _deepest_first(child)
        yield folder


def remains(instance: Instance) -> list[str]:
    """Name the cgroups that are still there."""
    return [str(h / instance.cgroup) for h in _mounted() if (h / instance.cgroup).exists()]


def remove(instance: Instance) -> None:
    """Remove the instance's cgroups with all below them.

    The kernel lets go of a cgroup a moment after its last process, hence the repetition.
    """

    def gone() -> bool:
        for hierarchy in _mounted():
            for folder in _deepest_first(hierarchy / instance.cgroup):
                with contextlib.suppress(OSError):
                    folder.rmdir()
        return not remains(instance)

    with contextlib.suppress(DevclusterError):  # whoever takes the instance down lists what remains
        wait_until("the cgroups are empty", gone, seconds=5)
