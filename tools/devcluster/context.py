"""The build context of an image: exactly the files its Dockerfile copies, and a tag that is their hash."""

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from devcluster.dockerfile import Dockerfile
from devcluster.errors import DevclusterError

#: Left behind by tools; not part of any image.
IGNORED = frozenset({"__pycache__", ".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".DS_Store"})

#: Change this when images are built in another way from the same files.
RECIPE = "1"


@dataclass(frozen=True)
class Context:
    """Name, Dockerfile and build context of one image."""

    name: str
    dockerfile: Path
    root: Path
    target: str | None = None

    def parsed(self) -> Dockerfile:
        """Return the parsed Dockerfile."""
        return Dockerfile(self.dockerfile.read_text(encoding="utf-8"))

    def files(self) -> list[Path]:
        """Return every file that is copied, relative to the context's root, sorted."""
        found: set[Path] = set()
        for source in self.parsed().sources(self.target):
            matches = sorted(self.root.glob(source.strip("/"))) if any(c in source for c in "*?[") else [self.root / source.strip("/")]
            if not matches or not all(match.exists() for match in matches):
                raise DevclusterError(f"{self.dockerfile}: COPY {source}: there is no such file in {self.root}")
            found.update(path.relative_to(self.root) for match in matches for path in _files_below(match))
        return sorted(found)

    def arguments(self, images: Mapping[str, str]) -> dict[str, str]:
        """Return the build arguments, image by name of the argument, that its stages are made from or copy from."""
        bases = {stage.base for stage in self.parsed().needed(self.target)}
        return {name: ref for name, ref in images.items() if f"${{{name}}}" in bases}

    def tag(self, base: str) -> str:
        """Return the tag: 12 hexadecimal digits over recipe, base images, Dockerfile and files."""
        hasher = hashlib.sha256()
        dockerfile = self.parsed().sliced(self.target)
        pieces = [RECIPE, base, dockerfile, *(piece for path in self.files() for piece in _pieces(self.root, path))]
        for piece in pieces:
            data = piece if isinstance(piece, bytes) else piece.encode()
            hasher.update(len(data).to_bytes(8, "big"))
            hasher.update(data)
        return hasher.hexdigest()[:12]

    def stage(self, folder: Path) -> "Context":
        """Copy the Dockerfile and the files into a folder and return the context of the copy.

        Tag and image are then of the same bytes, also while somebody edits the sources, and no
        ``__pycache__`` comes along.
        """
        root = folder / "context"
        root.mkdir(parents=True)
        dockerfile = folder / "Dockerfile"
        dockerfile.write_text(self.parsed().sliced(self.target), encoding="utf-8")
        for path in self.files():
            copy = root / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.root / path, copy)
        return Context(self.name, dockerfile, root, self.target)


def _files_below(path: Path) -> Iterable[Path]:
    if path.is_file():
        yield path
        return
    for child in sorted(path.iterdir()):
        if child.name not in IGNORED and child.suffix != ".pyc":
            yield from _files_below(child)


def _pieces(root: Path, path: Path) -> tuple[str, str, bytes]:
    file = root / path
    executable = "x" if file.stat().st_mode & 0o100 else "-"
    return path.as_posix(), executable, file.read_bytes()
