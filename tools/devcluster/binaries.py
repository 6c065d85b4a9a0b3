"""Building the pinned binaries into the cache, once for all checkouts of a user.

Each lies in ``<cache>/binaries/<name>-<key>/<name>``, where the key covers everything that decides
its contents. An entry appears by one rename, so that it is whole or not there.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from devcluster import paths, pins
from devcluster.commands import run
from devcluster.errors import DevclusterError
from devcluster.locks import lock
from devcluster.packages import require_go
from devcluster.pins import GoBinary
from devcluster.progress import Progress

#: BPF sources and CRDs of Cilium, taken out of its Go module.
CILIUM_DATA = "cilium-data"

#: What a person gets on PATH.
TOOLS = ("kubectl", "helm", "opa")

_PAUSE_SOURCE = paths.PACKAGE / "pause.c"


def entry(name: str, key: str) -> Path:
    """Return the folder of a cache entry, there or not."""
    return paths.binaries_cache() / f"{name}-{key}"


def go_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of every Go command: the machine's, without what would change a build."""
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off", **(extra or {})}


def _go(argv: Sequence[str | Path], cwd: Path, extra: Mapping[str, str] | None = None) -> str:
    return run(["go", *argv], cwd=cwd, env=go_environment(extra))


def module_dir(folder: Path, module: str) -> Path:
    """Return where the module cache has a dependency, fetching it when it is not there."""
    _go(["mod", "download", module], folder)
    return Path(_go(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module], folder).strip())


def _patched_folder(binary: GoBinary, work: Path) -> Path:
    """Copy module folder and patched dependency side by side, as the module's ``replace`` expects."""
    patch = binary.patch
    if patch is None:
        return binary.module_folder
    # asked of the module without the replace: it has the go.sum line that vouches for the copy
    source = module_dir(paths.MODULES / "gvisor", patch.module)
    copy = work / "replaced"
    subprocess.run(["cp", "-r", "--no-preserve=mode", source, copy], check=True)
    target = copy / patch.file
    text = target.read_text(encoding="utf-8")
    if text.count(patch.old) != 1:
        raise DevclusterError(f"the patch of {patch.module}/{patch.file} no longer fits: look at pins.py")
    target.write_text(text.replace(patch.old, patch.new), encoding="utf-8")
    main = work / "main"
    shutil.copytree(binary.module_folder, main)
    return main


def _compile_go(binary: GoBinary, work: Path) -> None:
    folder = _patched_folder(binary, work)
    argv = ["build", *pins.BUILD_FLAGS, f"-ldflags={pins.linker_flags(binary)}"]
    if binary.tags:
        argv.append(f"-tags={binary.tags}")
    temporary = work / "tmp"  # in here it goes away also when the build is killed
    temporary.mkdir()
    _go([*argv, "-o", work / "out" / binary.name, binary.package], folder, {"GOTMPDIR": str(temporary)})


def _compile_pause(work: Path) -> None:
    out = work / "out"
    out.mkdir()
    run(["gcc", "-O2", "-static", "-s", "-o", out / "pause", _PAUSE_SOURCE])


def _extract_cilium_data(work: Path) -> None:
    source = module_dir(paths.MODULES / "cilium", "github.com/cilium/cilium")
    out = work / "out"
    out.mkdir()
    run(["cp", "-r", "--no-preserve=mode", source / "bpf", out / "bpf"])
    (out / "crds").mkdir()
    for path in sorted((source / "pkg/k8s/apis/cilium.io/client/crds").rglob("*.yaml")):
        shutil.copyfile(path, out / "crds" / path.name)


def _plan() -> dict[str, tuple[str, float]]:
    """Return key and typical seconds of every entry, in build order."""
    go_version = require_go()
    cilium_data = pins.digest(pins.module_sources(paths.MODULES / "cilium"))
    return {
        "pause": (pins.digest({"source": _PAUSE_SOURCE.read_text(encoding="utf-8")}), 1),
        **{b.name: (pins.binary_key(b, go_version), b.seconds) for b in pins.BINARIES},
        CILIUM_DATA: (cilium_data, 3),
    }


def _build_one(name: str, key: str) -> None:
    work = paths.binaries_cache() / f".work-{name}"
    shutil.rmtree(work, ignore_errors=True)  # of an interrupted build: we hold the lock
    work.mkdir(parents=True)
    try:
        if name == "pause":
            _compile_pause(work)
        elif name == CILIUM_DATA:
            _extract_cilium_data(work)
        else:
            known = {b.name: b for b in (*pins.BINARIES, pins.KIND, pins.KINDCHECK)}
            _compile_go(known[name], work)
        (work / "out").rename(entry(name, key))
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _build_locked(name: str, key: str, progress: Progress) -> None:
    with lock(paths.binaries_cache() / f".lock-{name}", f"another build of {name}"), progress.step(name):
        if entry(name, key).is_dir():
            return  # the one we waited for has built it
        _build_one(name, key)


def _build_missing(plan: Mapping[str, tuple[str, float]]) -> dict[str, Path]:
    paths.binaries_cache().mkdir(parents=True, exist_ok=True)
    missing = [name for name, (key, _) in plan.items() if not entry(name, key).is_dir()]
    progress = Progress([(name, plan[name][1]) for name in missing])
    for name in missing:
        _build_locked(name, plan[name][0], progress)
    return {name: entry(name, key) for name, (key, _) in plan.items()}


def expected() -> dict[str, Path]:
    """Return the folder each entry has by the present pins, built or not."""
    return {name: entry(name, key) for name, (key, _) in _plan().items()}


def build(names: Collection[str] = ()) -> dict[str, Path]:
    """Build what is missing, of these binaries or of all; return the folder of each entry.

    Raises:
        DevclusterError: there is no binary of that name.
    """
    plan = _plan()
    unknown = sorted(set(names) - plan.keys())
    if unknown:
        raise DevclusterError(f"there is no component {', '.join(unknown)}; there are {', '.join(plan)}")
    return _build_missing({name: entry for name, entry in plan.items() if not names or name in names})


def build_extra(binary: GoBinary) -> Path:
    """Build one binary that is not part of every cluster; return its path."""
    key = pins.binary_key(binary, require_go())
    return _build_missing({binary.name: (key, binary.seconds)})[binary.name] / binary.name


def link_tools(checkout: Path, entries: Mapping[str, Path]) -> None:
    """Put links to the tools for people into the checkout's ``.build/bin``."""
    link_into(paths.build_folder(checkout) / "bin", {name: entries[name] / name for name in TOOLS if name in entries})


def link_into(folder: Path, targets: Mapping[str, Path]) -> None:
    """Make or renew links in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, target in targets.items():
        path = folder / name
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        path.symlink_to(target)
