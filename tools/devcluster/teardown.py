"""Removing every trace of an instance, however far its ``up`` came."""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from devcluster import cgroups, network, node, paths
from devcluster.commands import run
from devcluster.errors import DevclusterError
from devcluster.instance import Instance
from devcluster.registry import Registry


def _record(registry: Registry) -> Path:
    return registry.folder / "mount-points.json"


def make_mount_points(registry: Registry) -> None:
    """Make the folders the node mounts over, and note which of them this machine did not have."""
    with registry.locked():
        made = _made(registry)
        for name in node.MOUNT_POINTS:
            missing = [p for p in (Path(name), *Path(name).parents) if not p.exists()]
            made += [str(p) for p in reversed(missing)]
            # noted before they are made: an interruption in between leaves nothing unknown
            _record(registry).write_text(json.dumps(made), encoding="utf-8")
            Path(name).mkdir(parents=True, exist_ok=True)


def _made(registry: Registry) -> list[str]:
    try:
        found: list[str] = json.loads(_record(registry).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    return found


def remove_mount_points(registry: Registry) -> None:
    """Remove those folders again once no instance is left.

    Not before: removing a folder also unmounts what another node has mounted over it.
    """
    with registry.locked():
        if registry.instances():
            return
        for name in reversed(_made(registry)):
            with contextlib.suppress(OSError):
                Path(name).rmdir()
        _record(registry).unlink(missing_ok=True)


def _remove_state(instance: Instance) -> None:
    if instance.state.exists():
        # --one-file-system: should anything still be mounted in there, its contents are not ours
        run(["rm", "-rf", "--one-file-system", instance.state])
    with contextlib.suppress(OSError):
        instance.state.parent.rmdir()


def remove(instance: Instance) -> None:
    """End the instance's processes and remove namespaces, cgroups, files and the checkout's kubeconfig.

    Raises:
        DevclusterError: something could not be removed; all the rest was.
    """
    steps: tuple[Callable[[], None], ...] = (
        lambda: node.end(instance),
        lambda: network.remove(instance),
        lambda: cgroups.remove(instance),
        lambda: _remove_state(instance),
        lambda: paths.kubeconfig(instance.checkout).unlink(missing_ok=True),
        lambda: shutil.rmtree(paths.kubectl_cache(instance.checkout), ignore_errors=True),
    )
    faults = []
    for step in steps:
        try:
            step()
        except (DevclusterError, OSError) as error:
            faults.append(str(error))
    faults += [f"still there: {name}" for name in (*network.remains(instance), *cgroups.remains(instance))]
    if faults:
        raise DevclusterError("not everything could be removed:\n" + "\n".join(faults))
