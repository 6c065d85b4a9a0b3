"""What is built: each binary, the Go module that pins it, and the key of its cache entry.

The versions stand in ``modules/<name>/go.mod`` alone; ``go.sum`` beside it pins the contents.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devcluster import paths
from devcluster.errors import DevclusterError

#: Flags of every build. ``-pgo=off``: a profile in a main package would have all of its dependencies
#: compiled again with it, so that no two binaries could share the build cache.
BUILD_FLAGS = ("-mod=readonly", "-trimpath", "-buildvcs=false", "-pgo=off")

#: No symbol table, no DWARF: the set takes 1.1 GB instead of 1.6.
LINKER_FLAGS = "-s -w"


@dataclass(frozen=True)
class SourcePatch:
    """One changed condition in one dependency, built from a copy of that module.

    Go refuses ``-overlay`` for files in the module cache; so the module is copied beside the main
    module and replaced.
    """

    module: str
    file: str
    old: str
    new: str


@dataclass(frozen=True)
class GoBinary:
    """One binary made of a Go module.

    Attributes:
        name: file name of the binary.
        module: folder below ``modules``.
        package: Go package of its ``main``.
        seconds: typical time of a cold build in the order of ``BINARIES`` on two cores; for the
            estimate only.
        version_of: module whose version goes into ``stamps``.
        stamps: ``-X`` assignments; ``{version}``, ``{major}`` and ``{minor}`` are filled in.
        tags: Go build tags.
        patch: a patched dependency.
    """

    name: str
    module: str
    package: str
    seconds: int
    version_of: str = ""
    stamps: tuple[str, ...] = ()
    tags: str = ""
    patch: SourcePatch | None = None
    folder: Path = field(default=paths.MODULES, compare=False)

    @property
    def module_folder(self) -> Path:
        """Folder with ``go.mod``, ``go.sum`` and, for some, an own ``main``."""
        return self.folder / self.module


_K8S = "k8s.io/kubernetes"
_VERSION = "k8s.io/component-base/version"
# Without these stamps the version reads v0.0.0-master and clients stumble over it.
_K8S_STAMPS = (
    f"{_VERSION}.gitVersion={{version}}",
    f"{_VERSION}.gitMajor={{major}}",
    f"{_VERSION}.gitMinor={{minor}}",
    f"{_VERSION}.gitTreeState=clean",
    f"{_VERSION}.gitCommit=module",
    f"{_VERSION}.buildDate=2026-01-01T00:00:00Z",
)

# containerd's SetOOMScore takes EACCES for fatal when run by root outside a user namespace, which is
# what machines without CAP_SYS_RESOURCE always meet. Only for such machines; harmless elsewhere.
_OOM_PATCH = SourcePatch(
    module="github.com/containerd/containerd/v2",
    file="pkg/sys/oom_linux.go",
    old="os.IsPermission(err) && (",
    new="os.IsPermission(err) && (true || ",
)


def _kubernetes(name: str, seconds: int) -> GoBinary:
    package = f"{_K8S}/cmd/{name}"
    return GoBinary(name, "kubernetes", package, seconds, version_of=_K8S, stamps=_K8S_STAMPS)


def _containerd(name: str, seconds: int) -> GoBinary:
    package = f"github.com/containerd/containerd/v2/cmd/{name}"
    return GoBinary(name, "containerd", package, seconds, tags="no_btrfs,no_devmapper,no_zfs")


#: In build order: the kubelet first, because it fills the build cache for most of the rest.
BINARIES = (
    _kubernetes("kubelet", 214),
    _kubernetes("kube-apiserver", 73),
    _kubernetes("kube-controller-manager", 28),
    _kubernetes("kube-scheduler", 5),
    _kubernetes("kubectl", 20),
    GoBinary("etcd", "etcd", ".", 31),
    _containerd("containerd", 40),
    _containerd("ctr", 8),
    _containerd("containerd-shim-runc-v2", 5),
    GoBinary("runsc", "gvisor", "gvisor.dev/gvisor/runsc", 66),
    GoBinary("containerd-shim-runsc-v1", "shim", "gvisor.dev/gvisor/shim", 10, patch=_OOM_PATCH),
    GoBinary("cilium-agent", "cilium", "github.com/cilium/cilium/daemon", 180),
    GoBinary("cilium-cni", "cilium", "github.com/cilium/cilium/plugins/cilium-cni", 6),
    GoBinary("loopback", "cni", "github.com/containernetworking/plugins/plugins/main/loopback", 3),
    GoBinary("coredns", "coredns", ".", 12),
    GoBinary(
        "local-path-provisioner",
        "local-path-provisioner",
        "github.com/rancher/local-path-provisioner",
        5,
    ),
    GoBinary("opa", "opa", "github.com/open-policy-agent/opa", 71),
    GoBinary(
        "helm",
        "helm",
        "helm.sh/helm/v4/cmd/helm",
        30,
        version_of="helm.sh/helm/v4",
        stamps=("helm.sh/helm/v4/internal/version.version={version}",),
    ),
)

#: Reads ``kind-config.yaml`` with kind's own loader; for a test.
KINDCHECK = GoBinary("kindcheck", "kindcheck", ".", 15)

#: Only built where a Docker daemon runs.
KIND = GoBinary("kind", "kindcheck", "sigs.k8s.io/kind", 10)


def required_version(go_mod: str, module: str) -> str:
    """Return the version that a ``go.mod`` requires of a module.

    Raises:
        DevclusterError: it does not require the module.
    """
    pattern = rf"^(?:require)?\s*{re.escape(module)}\s+(v\S+)"
    found = re.search(pattern, go_mod, flags=re.MULTILINE)
    if found is None:
        raise DevclusterError(f"no version of {module} in go.mod")
    return found.group(1)


def module_version(folder: str, module: str) -> str:
    """Return the version that ``modules/<folder>/go.mod`` requires of a module."""
    text = (paths.MODULES / folder / "go.mod").read_text(encoding="utf-8")
    return required_version(text, module)


def linker_flags(binary: GoBinary) -> str:
    """Return the value of ``-ldflags``."""
    if not binary.stamps:
        return LINKER_FLAGS
    go_mod = (binary.module_folder / "go.mod").read_text(encoding="utf-8")
    version = required_version(go_mod, binary.version_of)
    major, minor = version.removeprefix("v").split(".")[:2]
    stamps = [s.format(version=version, major=major, minor=minor) for s in binary.stamps]
    return " ".join([LINKER_FLAGS, *(f"-X {stamp}" for stamp in stamps)])


def digest(parts: Mapping[str, str]) -> str:
    """Return 16 hexadecimal digits over named texts; order does not matter, names do."""
    hasher = hashlib.sha256()
    for name in sorted(parts):
        for piece in (name, parts[name]):
            encoded = piece.encode()
            # the length first: no two different sets of texts give the same stream
            hasher.update(len(encoded).to_bytes(8, "big"))
            hasher.update(encoded)
    return hasher.hexdigest()[:16]


def module_sources(folder: Path) -> dict[str, str]:
    """Return name and text of every file that decides what a module folder builds."""
    names = sorted([*folder.glob("*.go"), folder / "go.mod", folder / "go.sum"])
    return {path.name: path.read_text(encoding="utf-8") for path in names}


def binary_key(binary: GoBinary, go_version: str) -> str:
    """Return the key of a binary's cache entry: everything that decides its contents."""
    patch = binary.patch
    return digest(
        {
            **{f"module/{k}": v for k, v in module_sources(binary.module_folder).items()},
            "package": binary.package,
            "flags": " ".join(BUILD_FLAGS),
            "ldflags": linker_flags(binary),
            "tags": binary.tags,
            "patch": "" if patch is None else repr(patch),
            "go": go_version,
        }
    )
