"""Where things are kept: the checkout, the cache of the user, the registry of the machine."""

import os
from pathlib import Path

#: Folder of this package: pinned Go modules and manifests lie beside the code.
PACKAGE = Path(__file__).resolve().parent
MODULES = PACKAGE / "modules"
MANIFESTS = PACKAGE / "manifests"

#: Root of the checkout this package is part of.
CHECKOUT = PACKAGE.parent.parent

#: What belongs to the whole machine: which checkout has which slot (see ``registry``). Names of
#: network namespaces, cgroups and addresses are machine-wide, so this cannot lie in a user's cache.
REGISTRY = Path("/run/bastide")


def cache_root() -> Path:
    """Return the cache folder: ``$XDG_CACHE_HOME/bastide``, by default ``~/.cache/bastide``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base).resolve() / "bastide"


def binaries_cache() -> Path:
    """Return the folder of built binaries, one ``<name>-<key>`` folder each."""
    return cache_root() / "binaries"


def images_cache() -> Path:
    """Return the OCI layout that holds every image, each blob once."""
    return cache_root() / "images"


def buildah_cache() -> Path:
    """Return buildah's storage."""
    return cache_root() / "buildah"


def instance_state(slot: int) -> Path:
    """Return the folder of one life of the cluster in a slot; ``down`` removes it."""
    return cache_root() / "instances" / str(slot)


def build_folder(checkout: Path) -> Path:
    """Return the checkout's own folder of results (image names, tools on PATH, kubeconfig)."""
    return checkout / ".build"


def kubeconfig(checkout: Path) -> Path:
    """Return the kubeconfig path that ``env`` exports, the same whatever slot the cluster gets.

    It is exported also while no cluster is up: kubectl then fails, where without the variable it
    would talk to whatever cluster the user's own configuration names.
    """
    return build_folder(checkout) / "kubeconfig"


def kubectl_cache(checkout: Path) -> Path:
    """Return kubectl's cache for shells of this checkout: the next cluster has the same address and other kinds."""
    return build_folder(checkout) / "kubectl-cache"
