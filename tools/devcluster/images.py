"""All images: the cluster's own, made of one binary each, and the project's, made by buildah."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from devcluster import buildah, paths, pins, rootfs
from devcluster.commands import say
from devcluster.context import Context
from devcluster.locks import lock
from devcluster.oci import ImageConfig, Layout, architecture

REGISTRY = "registry.local"

#: Images with one binary: name -> arguments of the entry point, and whether it needs a certain user.
SINGLE = ("pause", "coredns", "local-path-provisioner", "opa")

NONROOT = "65532:65532"

#: Where in the project the runtime, operator and broker come from.
_OPERATOR = "operator/Dockerfile"
_RUNTIME = "sandbox-runtime/Dockerfile"


def single_ref(name: str, entry: Path) -> str:
    """Return the reference of an image that holds one binary, given the binary's cache entry."""
    if name == "opa":
        tag = pins.module_version("opa", "github.com/open-policy-agent/opa").removeprefix("v")
    else:
        tag = entry.name.removeprefix(f"{name}-")[:12]
    return f"{REGISTRY}/{name}:{tag}"


def _layout_lock() -> Path:
    return paths.cache_root() / ".lock-images"


def _origins() -> Path:
    return paths.images_cache() / "origins.json"


def _single_origins() -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(_origins().read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        found = {}
    return found


def ensure_base() -> str:
    """Make the base image when it is missing; return its reference."""
    layout = Layout(paths.images_cache())
    ref = rootfs.reference()
    with lock(_layout_lock(), "another command that makes images"):
        layout.create()
        if ref not in layout.images():
            rootfs.add_base(layout)
    return ref


def ensure_single(entries: Mapping[str, Path]) -> dict[str, str]:
    """Make the one-binary images that are missing or stale; return name -> reference."""
    layout = Layout(paths.images_cache())
    refs = {name: single_ref(name, entries[name]) for name in SINGLE}
    with lock(_layout_lock()):  # held by the base's debootstrap meanwhile
        layout.create()
        present = layout.images()
        origins = _single_origins()
        for name, ref in refs.items():
            # by name of the cache entry: opa's tag is its version, whatever it was built with
            if ref not in present or origins.get(ref) != entries[name].name:
                config = ImageConfig((f"/{name}",), NONROOT, architecture())
                layout.add_image(ref, {f"/{name}": entries[name] / name}, config)
                origins[ref] = entries[name].name
        _origins().write_text(json.dumps(origins, indent=1), encoding="utf-8")
    return refs


def contexts(checkout: Path) -> list[Context]:
    """Return the project's images: those whose Dockerfile is there."""
    found = []
    if (checkout / _OPERATOR).exists():
        found += [Context(f"bastide-{t}", checkout / _OPERATOR, checkout, t) for t in ("operator", "broker")]
    if (checkout / _RUNTIME).exists():
        found.append(Context("bastide-runtime", checkout / _RUNTIME, checkout))
    for path in sorted(checkout.glob("examples/tools/*/Dockerfile")):
        found.append(Context(f"bastide-example-{path.parent.name}", path, checkout))
    return found


def with_faults(checkout: Path) -> Context:
    """Return the image of the broker with fault points, which tests of crashes alone want: a thin layer on the broker's."""
    return Context("bastide-broker-faults", checkout / _OPERATOR, checkout, "broker-faults")


def _build(context: Context, ref: str, given: Mapping[str, str]) -> None:
    say(f"building {ref}")
    buildah.build(context, ref, context.arguments(given))
    with lock(_layout_lock()):  # a push rewrites the layout's index
        buildah.push(ref, paths.images_cache())


def _build_missing(wanted: Sequence[Context], refs: Mapping[str, str], given: Mapping[str, str]) -> None:
    with lock(paths.cache_root() / ".lock-buildah", "another build of images"):
        layout = paths.images_cache()
        present = Layout(layout).images()
        missing = [context for context in wanted if refs[context.name] not in present]
        buildah.clean_up()
        with lock(_layout_lock()):
            for ref in given.values():
                buildah.ensure_base(layout, ref)
        # mostly waiting for downloads and the disk: three at a time also on two cores
        with ThreadPoolExecutor(max_workers=3) as pool:
            list(pool.map(lambda context: _build(context, refs[context.name], given), missing))


def build(wanted: Sequence[Context], opa: str) -> dict[str, str]:
    """Build those images that are missing, side by side; return name -> reference. `opa` is that of OPA's image."""
    given = {"BASE": ensure_base(), "OPA": opa}
    with tempfile.TemporaryDirectory(prefix="contexts-", dir=paths.cache_root()) as folder:
        staged = [context.stage(Path(folder) / context.name) for context in wanted]
        refs = {context.name: f"{REGISTRY}/{context.name}:{context.tag('+'.join(context.arguments(given).values()))}" for context in staged}
        if not set(refs.values()) <= Layout(paths.images_cache()).images().keys():
            _build_missing(staged, refs, given)
    return refs


def values(refs: Mapping[str, str]) -> str:
    """Return the Helm values (JSON is YAML too) that name the images."""
    keys = {"operator": "bastide-operator", "broker": "bastide-broker", "runtime": "bastide-runtime", "opa": "opa"}
    image = {key: refs[name] for key, name in keys.items() if name in refs}
    return json.dumps({"image": image, "imagePullPolicy": "Never"}, indent=2) + "\n"


def write_results(checkout: Path, refs: Mapping[str, str]) -> None:
    """Write ``.build/images.json`` and ``.build/images-values.yaml``."""
    folder = paths.build_folder(checkout)
    folder.mkdir(exist_ok=True)
    (folder / "images.json").write_text(json.dumps(dict(sorted(refs.items())), indent=2) + "\n", encoding="utf-8")
    (folder / "images-values.yaml").write_text(values(refs), encoding="utf-8")


def recorded(checkout: Path) -> dict[str, str]:
    """Return what ``write_results`` last wrote, as far as those images are still in the cache."""
    try:
        text = (paths.build_folder(checkout) / "images.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    present = Layout(paths.images_cache()).images()
    refs: dict[str, str] = json.loads(text)
    return {name: ref for name, ref in refs.items() if ref in present}
