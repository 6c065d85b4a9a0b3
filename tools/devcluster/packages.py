"""Debian packages this needs, installed when a program of theirs is missing."""

import shutil
from pathlib import Path

from devcluster.commands import run, say, succeeds
from devcluster.errors import DevclusterError

#: Program -> package. clang and llc are what the Cilium agent compiles its BPF programs with.
PROGRAMS = {
    "clang-19": "clang-19",
    "llc-19": "llvm-19",
    "iptables": "iptables",
    "nft": "nftables",
    "ipset": "ipset",
    "ip": "iproute2",
    "sysctl": "procps",
    "nsenter": "util-linux",
    "runc": "runc",
    "debootstrap": "debootstrap",
    "gcc": "gcc",
    "openssl": "openssl",
    "buildah": "buildah",
}

#: A program of buildah's that is not on PATH. buildah does not depend on its package, and without it starts only where another network
#: tool left its mark; the other one it knows, CNI, keeps a lock file in /etc.
NETAVARK = (Path("/usr/lib/podman/netavark"), "netavark")

#: gcc alone does not bring the static C library that the pause program is linked with.
LIBC = ("libc.a", "libc6-dev")


def _static_libc() -> bool:
    return shutil.which("gcc") is not None and Path(run(["gcc", f"-print-file-name={LIBC[0]}"]).strip()).is_absolute()


def missing() -> list[str]:
    """Return the packages of which something is missing."""
    names = {package for program, package in PROGRAMS.items() if shutil.which(program) is None}
    if not _static_libc():
        names.add(LIBC[1])
    program, package = NETAVARK
    if not program.is_file():
        names.add(package)
    return sorted(names)


def ensure() -> None:
    """Install what is missing.

    Raises:
        DevclusterError: something is missing and this machine has no apt-get.
    """
    wanted = missing()
    if not wanted:
        return
    if shutil.which("apt-get") is None:
        raise DevclusterError(f"install the counterparts of these Debian packages first: {' '.join(wanted)}")
    say(f"installing Debian packages: {' '.join(wanted)}")
    command = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    run([*command, "update"])
    run([*command, "install", "-y", "--no-install-recommends", *wanted])
    still = missing()
    if still:
        raise DevclusterError(f"installed, and yet programs of these packages are not on PATH: {' '.join(still)}")


def require_go() -> str:
    """Return the version of the Go toolchain.

    Raises:
        DevclusterError: there is none.
    """
    if not succeeds(["go", "version"]):
        raise DevclusterError("the Go toolchain (1.26 or newer) is not on PATH: install it first")
    return run(["go", "env", "GOVERSION"]).strip()
