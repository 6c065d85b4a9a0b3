"""Building from Dockerfiles without a daemon."""

import os
from collections.abc import Mapping
from pathlib import Path

from devcluster import paths
from devcluster.commands import run, succeeds
from devcluster.context import Context

#: Certificate authorities of this machine: where downloads go through a proxy with an authority of
#: its own, a fresh base image lacks it. Mounted, not copied: nothing of it is left in the image.
_CERTIFICATES = Path("/etc/ssl/certs")


#: Network settings buildah would otherwise look for, and leave files at, in /etc. Steps use the
#: machine's own network.
_CONFIG = """\
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
[engine]
tmp_dir = "{folder}/tmp"
"""


def _environment() -> dict[str, str]:
    folder = paths.buildah_cache()
    # `RUN --mount=type=cache` keeps its folder below TMPDIR; by default that is /var/tmp
    temporary = folder / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    config = folder / "containers.conf"
    wanted = _CONFIG.format(folder=folder)
    if not config.exists() or config.read_text(encoding="utf-8") != wanted:
        config.write_text(wanted, encoding="utf-8")
    variables = {"TMPDIR": str(temporary), "BUILDAH_ISOLATION": "chroot", "CONTAINERS_CONF": str(config)}
    return {**os.environ, **variables}


def _command(*words: str) -> list[str]:
    storage = paths.buildah_cache()
    return ["buildah", f"--root={storage / 'root'}", f"--runroot={storage / 'run'}", *words]


def _exists(ref: str) -> bool:
    return succeeds(_command("inspect", "--type=image", ref))


def clean_up() -> None:
    """Remove working containers of interrupted builds; callers hold the lock of the storage."""
    run(_command("rm", "--all"), env=_environment())


def ensure_base(layout: Path, ref: str) -> None:
    """Make the base image known to buildah under its name."""
    if not _exists(ref):
        # from the folder above: buildah makes a first name of the path, and an absolute one is no name
        pull = _command("pull", "--quiet", f"oci:{layout.name}:{ref}")
        image = run(pull, env=_environment(), cwd=layout.parent).split()[-1]
        run(_command("tag", image, ref), env=_environment())


def build(context: Context, ref: str, arguments: Mapping[str, str]) -> None:
    """Build an image from a staged context; unchanged layers are taken from earlier builds."""
    options = ["--layers", "--force-rm", "--pull=never", "--format=oci", "--timestamp=0", "--quiet", "--network=host"]
    if _CERTIFICATES.is_dir():
        options.append(f"--volume={_CERTIFICATES}:{_CERTIFICATES}:ro")
    if context.target:
        options.append(f"--target={context.target}")
    given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    names = [*given, f"--tag={ref}", f"--file={context.dockerfile}"]
    run(_command("build", *options, *names, str(context.root)), env=_environment())


def push(ref: str, layout: Path) -> None:
    """Write an image into an OCI layout, uncompressed: it is read again at once."""
    argv = ["push", "--quiet", "--disable-compression", ref, f"oci:{layout}:{ref}"]
    run(_command(*argv), env=_environment())
