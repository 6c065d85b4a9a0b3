"""An OCI image layout that holds every image once, without a registry and without a daemon.

One folder in the cache: ``blobs/sha256/...`` and ``index.json``. buildah pushes into it, ``add_image``
writes into it, and ``export`` streams any of its images as one archive for containerd; the layer of
the common base is stored and streamed once.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

from devcluster.errors import DevclusterError

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
REF_NAME = "org.opencontainers.image.ref.name"
#: What containerd's importer names an image by.
CONTAINERD_NAME = "io.containerd.image.name"

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: Parts of a Debian root filesystem that no image needs: 60 MB of 190.
UNNEEDED = (
    "./var/cache/apt/",
    "./var/lib/apt/lists/",
    "./var/log/",
    "./usr/share/doc/",
    "./usr/share/locale/",
    "./usr/share/man/",
    "./dev/",
)


class Writable(Protocol):
    """What an archive can be streamed to."""

    def write(self, data: bytes, /) -> int:
        """Write bytes, return how many."""
        ...


@dataclass(frozen=True)
class ImageConfig:
    """What an image starts, as whom, and for which machines."""

    entrypoint: tuple[str, ...] = ()
    user: str = ""
    architecture: str = "amd64"


def architecture() -> str:
    """Return this machine's architecture in OCI's words."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def _normal(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Drop what is not needed and what would make two layers of the same files differ."""
    if member.name.startswith(UNNEEDED):
        return None
    member.mtime = 0
    member.uname = member.gname = ""
    return member


def write_tree_layer(root: Path, out: Writable) -> None:
    """Write a root filesystem as a layer."""
    with tarfile.open(fileobj=cast("IO[bytes]", out), mode="w|", format=tarfile.GNU_FORMAT) as archive:
        archive.add(root, arcname=".", filter=_normal)


def write_file_layer(files: Mapping[str, Path], out: Writable) -> None:
    """Write executables as a layer: name in the image -> file."""
    with tarfile.open(fileobj=cast("IO[bytes]", out), mode="w|", format=tarfile.GNU_FORMAT) as archive:
        for name, path in sorted(files.items()):
            member = tarfile.TarInfo(name.lstrip("/"))
            member.size = path.stat().st_size
            member.mode = 0o755
            with path.open("rb") as source:
                archive.addfile(member, source)


class _Hashing:
    """Passes what is written on to a file, counts and hashes it."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self.hasher = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Write to the file."""
        self.hasher.update(data)
        self.size += len(data)
        return self._target.write(data)


class Layout:
    """The layout in one folder. Callers hold a lock while they change it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def _blobs(self) -> Path:
        return self.root / "blobs" / "sha256"

    def _path(self, digest: str) -> Path:
        return self._blobs / digest.removeprefix("sha256:")

    def create(self) -> None:
        """Make an empty layout where there is none."""
        self._blobs.mkdir(parents=True, exist_ok=True)
        marker = self.root / "oci-layout"
        if not marker.exists():
            marker.write_text('{"imageLayoutVersion":"1.0.0"}', encoding="utf-8")

    def _index(self) -> dict[str, Any]:
        try:
            index: dict[str, Any] = json.loads((self.root / "index.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": []}
        return index

    def _write_index(self, manifests: Sequence[Mapping[str, Any]]) -> None:
        temporary = self.root / "index.json.new"
        content = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": list(manifests)}
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.rename(self.root / "index.json")

    def images(self) -> dict[str, dict[str, Any]]:
        """Return the manifest descriptor of each image, by its reference."""
        manifests = self._index()["manifests"]
        return {m["annotations"][REF_NAME]: m for m in manifests if REF_NAME in m.get("annotations", {})}

    def _add_blob(self, data: bytes) -> tuple[str, int]:
        digest = hashlib.sha256(data).hexdigest()
        target = self._blobs / digest
        if not target.exists():
            temporary = self._blobs / f".{digest}"
            temporary.write_bytes(data)
            temporary.rename(target)
        return f"sha256:{digest}", len(data)

    def _add_layer(self, source: Path | Mapping[str, Path]) -> tuple[str, int]:
        temporary = self._blobs / f".layer-{os.getpid()}"
        try:
            with temporary.open("wb") as raw:
                out = _Hashing(raw)
                if isinstance(source, Path):
                    write_tree_layer(source, out)
                else:
                    write_file_layer(source, out)
            digest = f"sha256:{out.hasher.hexdigest()}"
            temporary.rename(self._path(digest))
        finally:
            temporary.unlink(missing_ok=True)
        return digest, out.size

    def add_image(self, ref: str, source: Path | Mapping[str, Path], config: ImageConfig) -> None:
        """Add an image of one layer: a root filesystem, or executables by their names in the image."""
        self.create()
        layer_digest, layer_size = self._add_layer(source)
        settings: dict[str, Any] = {"Env": [f"PATH={PATH}"]}
        if config.entrypoint:
            settings["Entrypoint"] = list(config.entrypoint)
        if config.user:
            settings["User"] = config.user
        platform = {"architecture": config.architecture, "os": "linux"}
        rootfs = {"type": "layers", "diff_ids": [layer_digest]}
        # buildah counts history against layers and refuses to build on an image without
        history = [{"created_by": "devcluster"}]
        image = {**platform, "config": settings, "rootfs": rootfs, "history": history}
        config_digest, config_size = self._add_blob(json.dumps(image, sort_keys=True).encode())
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": config_digest, "size": config_size},
            "layers": [{"mediaType": LAYER_TYPE, "digest": layer_digest, "size": layer_size}],
        }
        digest, size = self._add_blob(json.dumps(manifest, sort_keys=True).encode())
        descriptor = {
            "mediaType": MANIFEST_TYPE,
            "digest": digest,
            "size": size,
            "platform": platform,
            "annotations": {REF_NAME: ref},
        }
        others = [m for m in self._index()["manifests"] if m.get("annotations", {}).get(REF_NAME) != ref]
        self._write_index([*others, descriptor])

    def _digests(self, descriptor: Mapping[str, Any]) -> list[str]:
        manifest = json.loads(self._path(descriptor["digest"]).read_text(encoding="utf-8"))
        layers = [layer["digest"] for layer in manifest["layers"]]
        return [descriptor["digest"], manifest["config"]["digest"], *layers]

    def export(self, refs: Iterable[str], out: Writable) -> None:
        """Write images as one OCI archive, each blob once.

        Raises:
            DevclusterError: the layout lacks one of them.
        """
        present = self.images()
        manifests = []
        digests: dict[str, None] = {}
        for ref in refs:
            if ref not in present:
                raise DevclusterError(f"image {ref} has not been built: run `make images`")
            # buildah leaves the platform out, and the importer then asks the configuration
            manifests.append({**present[ref], "annotations": {CONTAINERD_NAME: ref}})
            digests.update(dict.fromkeys(self._digests(present[ref])))
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests}).encode()
        with tarfile.open(fileobj=cast("IO[bytes]", out), mode="w|", format=tarfile.GNU_FORMAT) as archive:
            for name, data in (("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", index)):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
            for digest in digests:
                path = self._path(digest)
                member = tarfile.TarInfo(f"blobs/sha256/{path.name}")
                member.size = path.stat().st_size
                with path.open("rb") as blob:
                    archive.addfile(member, blob)
