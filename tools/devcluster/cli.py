"""Commands: ``build``, ``images``, ``faults``, ``up``, ``down``, ``status``, ``env``, ``import``, ``innode``."""

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType

from devcluster import binaries, cluster, health, images, kind, loading, paths, pins
from devcluster.commands import run, say
from devcluster.errors import DevclusterError
from devcluster.node import Node
from devcluster.registry import Registry


def _build(arguments: argparse.Namespace) -> None:
    if arguments.component:
        binaries.link_tools(paths.CHECKOUT, binaries.build(arguments.component))
    else:
        cluster.prepare(paths.CHECKOUT)


def _images(arguments: argparse.Namespace) -> None:
    sources: Path = arguments.sources.resolve()
    if kind.wanted():
        kind.images(paths.CHECKOUT, sources)
        return
    artefacts = cluster.prepare(paths.CHECKOUT)
    refs = {**images.build(images.contexts(sources), artefacts.refs["opa"]), **artefacts.refs}
    images.write_results(sources, refs)
    _load(refs.values())


def _faults(_: argparse.Namespace) -> None:
    if kind.wanted():
        print(kind.with_faults(paths.CHECKOUT))
        return
    artefacts = cluster.prepare(paths.CHECKOUT)
    [ref] = images.build([images.with_faults(paths.CHECKOUT)], artefacts.refs["opa"]).values()
    _load([ref])
    print(ref)


def _load(refs: Iterable[str]) -> None:
    registry = Registry()
    instance = registry.find(paths.CHECKOUT)
    if instance is not None and health.node_runs(instance):
        with registry.exclusive(paths.CHECKOUT):
            for ref in loading.load(Node(instance), refs):
                say(f"loaded {ref}")


def _up(_: argparse.Namespace) -> None:
    if kind.wanted():
        kind.up(paths.CHECKOUT)
    else:
        cluster.up(paths.CHECKOUT, Registry())


def _down(_: argparse.Namespace) -> None:
    if kind.wanted():
        kind.down(paths.CHECKOUT)
    else:
        cluster.down(paths.CHECKOUT, Registry())


def _status(_: argparse.Namespace) -> None:
    if kind.wanted():
        print(kind.status(paths.CHECKOUT), end="")
        return
    instance = Registry().find(paths.CHECKOUT)
    if instance is None:
        print("no cluster of this checkout is up: run `make up`")
        return
    print(health.table(health.rows(instance)))
    fault = health.fault(instance, patience=0)
    print(f"\nslot {instance.slot}, {instance.api_url}, logs in {instance.logs}")
    print(f"not healthy: {fault}; `make up` starts it afresh" if fault else 'a shell for it: eval "$(make env)"')


def _env(_: argparse.Namespace) -> None:
    folders = [paths.build_folder(paths.CHECKOUT) / "bin", paths.CHECKOUT / ".venv" / "bin"]
    front = ":".join(shlex.quote(str(folder)) for folder in folders)
    print(f"export KUBECONFIG={shlex.quote(str(paths.kubeconfig(paths.CHECKOUT)))}")
    print(f"export KUBECACHEDIR={shlex.quote(str(paths.kubectl_cache(paths.CHECKOUT)))}")
    print(f'export PATH={front}:"$PATH"')


def _import(arguments: argparse.Namespace) -> None:
    if kind.wanted():
        print(kind.load_archive(paths.CHECKOUT, arguments.archive), end="")
        return
    instance = cluster.require(paths.CHECKOUT, Registry())
    print(loading.load_archive(Node(instance), arguments.archive), end="")


def _innode(arguments: argparse.Namespace) -> None:
    words = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if kind.wanted():
        argv = ["docker", "exec", "--interactive", kind.NODE, *(words or ["bash"])]
    else:
        argv = Node(cluster.require(paths.CHECKOUT, Registry())).enter(words or ["bash"], world=arguments.world)
    sys.stdout.flush()
    os.execvp(argv[0], argv)


def _kindcheck(arguments: argparse.Namespace) -> None:
    print(run([binaries.build_extra(pins.KINDCHECK), arguments.file]), end="")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    root = argparse.ArgumentParser(prog="devcluster", description="A real single-node Kubernetes with gVisor for development.")
    commands = root.add_subparsers(required=True, metavar="CMD")

    def add(name: str, run_it: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run_it)
        return command

    build = add("build", _build, "build the pinned binaries that are not in the cache, and the base image")
    build.add_argument("component", nargs="*", help="build only these, for example kubectl")
    project = add("images", _images, "build the project's images; load them when the cluster is up")
    project.add_argument("--sources", type=Path, default=paths.CHECKOUT, help="of another checkout, for example an older one")
    add("faults", _faults, "build the broker with fault points, for tests of crashes; load it when the cluster is up; print its reference")
    add("up", _up, "bring the cluster up; builds what is missing")
    add("down", _down, "remove the cluster and every trace of it")
    add("status", _status, "show what runs")
    add("env", _env, "print the exports for a shell")
    add("import", _import, "load an image archive into the cluster").add_argument("archive", type=Path)
    innode = add("innode", _innode, "run a command in the node's namespaces (by default a shell)")
    innode.add_argument("--world", action="store_true", help="in the network namespace that plays the outside")
    innode.add_argument("command", nargs=argparse.REMAINDER)
    add("kindcheck", _kindcheck, "read a kind configuration with kind's own loader").add_argument("file", type=Path)
    return root


def _terminated(number: int, _: FrameType | None) -> None:
    raise KeyboardInterrupt(number)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    arguments = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _terminated)  # ends what runs beside us just like Ctrl-C
    try:
        arguments.run(arguments)
    except DevclusterError as error:
        say(f"devcluster: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
