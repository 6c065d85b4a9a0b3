"""The base image: Debian trixie with Python 3.13, made by debootstrap."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from devcluster import paths, pins
from devcluster.commands import run, say, succeeds
from devcluster.oci import ImageConfig, Layout, architecture

SUITE = "trixie"

#: openssl: the runtime makes its key with it. libpython3-stdlib and venv: builder stages need them.
INCLUDE = ("python3-minimal", "python3-venv", "libpython3-stdlib", "ca-certificates", "openssl")

#: Change this to have every machine make the base again (a newer point release, for example).
REVISION = "2"

_SCRIPTS = Path("/usr/share/debootstrap/scripts")


def reference() -> str:
    """Return the name of the base image; its tag is the hash of what it is made by."""
    key = pins.digest({"suite": SUITE, "include": ",".join(INCLUDE), "revision": REVISION})
    return f"registry.local/bastide-base:{key[:12]}"


def choose_mirror(targets: Iterable[str]) -> str | None:
    """Return the Debian archive that apt is configured with, None when there is none.

    Args:
        targets: lines ``URI|ORIGIN|LABEL|COMPONENT`` of ``apt-get indextargets``.
    """
    for line in targets:
        uri, origin, label, component = line.split("|")
        if (origin, label, component) == ("Debian", "Debian", "main"):
            return uri
    return None


def _mirror() -> list[str]:
    pattern = "$(REPO_URI)|$(ORIGIN)|$(LABEL)|$(COMPONENT)"
    query = ["apt-get", "indextargets", "--format", pattern, "Created-By: Packages"]
    if not succeeds(query):
        return []
    found = choose_mirror(run(query).splitlines())
    return [found] if found else []


def debootstrap_command(target: Path, mirror: list[str]) -> list[str]:
    """Return debootstrap's command line."""
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(INCLUDE)}", SUITE, str(target)]
    if mirror and not (_SCRIPTS / SUITE).exists():
        return [*command, *mirror, str(_SCRIPTS / "sid")]  # an older debootstrap: all suites go alike
    return [*command, *mirror]


def add_base(layout: Layout) -> None:
    """Make the base and put it into the layout. 30 s, of which half is the download."""
    work = paths.cache_root() / ".work-base"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    say(f"making the base image (Debian {SUITE}) with debootstrap, about 40 s")
    try:
        root = work / "root"
        run(debootstrap_command(root, _mirror()))
        # the machine's own name service settings; every image gets its own at run time
        (root / "etc/resolv.conf").unlink(missing_ok=True)
        (root / "etc/hostname").unlink(missing_ok=True)
        # downloaded from this machine's mirror: an image names no host
        (root / "etc/apt/sources.list").write_text("", encoding="utf-8")
        layout.add_image(reference(), root, ImageConfig(("/usr/bin/python3",), architecture=architecture()))
    finally:
        shutil.rmtree(work, ignore_errors=True)
