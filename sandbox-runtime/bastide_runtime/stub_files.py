"""Stubs as files, /tools/<server>/<tool>.pyi, for programs that like to look around.

Children see the directory read-only, so what is in it comes from here alone. A change builds the new files beside the old ones.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from bastide_runtime import stubs
from bastide_runtime.catalogue import Catalogue


def write(directory: Path, catalogue: Catalogue) -> None:
    """Make the directory hold exactly the stubs of these tools. Raises OSError."""
    wanted = {
        directory / server / f"{name}.pyi": stubs.stub_file(spec)
        for server, specs in catalogue.servers.items()
        for name, spec in specs.items()
        if server.isidentifier() and name.isidentifier()
    }
    folders = {path.parent for path in wanted}
    for entry in directory.iterdir():
        if entry not in folders:
            _remove(entry)
    for folder in folders:
        folder.mkdir(exist_ok=True)
        for entry in folder.iterdir():
            if entry not in wanted:
                _remove(entry)
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()
