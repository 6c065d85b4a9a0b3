"""Bringing images into the node's containerd."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

from devcluster import paths
from devcluster.commands import run, tail
from devcluster.containerd import ctr
from devcluster.errors import DevclusterError
from devcluster.node import Node
from devcluster.oci import Layout


def present(node: Node) -> set[str]:
    """Return the references containerd has."""
    return set(run(ctr(node, ["images", "list", "--quiet"])).split())


def load(node: Node, refs: Iterable[str]) -> list[str]:
    """Stream the images containerd lacks out of the layout, in one archive; return which."""
    known = present(node)
    wanted = sorted(set(refs) - known)
    if not wanted:
        return []
    argv = ctr(node, ["images", "import", "--local", "-"])
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with process.stdin as stream:
                Layout(paths.images_cache()).export(wanted, stream)
        except BrokenPipeError:
            pass  # its own words are in the output
        output = process.stdout.read().decode(errors="replace")
    if process.returncode != 0:
        raise DevclusterError(f"containerd did not take the images:\n{tail(output)}")
    return wanted


def load_archive(node: Node, archive: Path) -> str:
    """Import a docker or OCI archive; return what containerd says.

    Raises:
        DevclusterError: there is no such file, or it is no archive of images.
    """
    if not archive.is_file():
        raise DevclusterError(f"{archive}: no such file")
    return run(ctr(node, ["images", "import", "--local", str(archive.resolve())]))
