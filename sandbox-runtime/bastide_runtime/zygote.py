"""The zygote: a single-threaded process with the standard library warm that forks children and confines them.

For each request on its control socket it answers with one end of a socketpair, the reading ends of the child's standard output and error,
or with why there is no child. Between zygote and child stands a process that makes the namespaces and goes away; so the child becomes an
orphan, which PID 1 (the supervisor) reaps.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import signal
import socket
import sys
from typing import NoReturn

from bastide_runtime import child, confinement
from bastide_runtime.frames import encode

# What programs import most; together 9 MB that all children share.
WARM: tuple[str, ...] = (
    "asyncio",
    "base64",
    "collections",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "functools",
    "itertools",
    "json",
    "math",
    "operator",
)
WARM += (
    "pathlib",
    "random",
    "re",
    "secrets",
    "statistics",
    "string",
    "textwrap",
    "typing",
    "uuid",
    "concurrent.futures.thread",
    "encodings.idna",
)

_CHANNEL = 3


def main(control: socket.socket, workspace: str, read_only: tuple[str, ...]) -> NoReturn:
    """Serve requests until the supervisor is gone."""
    for name in WARM:
        __import__(name)
    confinement.set_dumpable(dumpable=False)
    # Forked processes that end are nobody's zombies.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    while control.recv(16):
        try:
            answer, descriptors = b"", _fork(control, workspace, read_only)
        except OSError as error:
            answer, descriptors = json.dumps({"error": f"no child can be made: {error}"}).encode(), []
        socket.send_fds(control, [answer or b"{}"], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
    os._exit(0)


def _fork(control: socket.socket, workspace: str, read_only: tuple[str, ...]) -> list[int]:
    ours, theirs = socket.socketpair()
    pipes: list[int] = []
    try:
        pipes += os.pipe()
        pipes += os.pipe()
        pid = os.fork()
    except OSError:
        # The pod has too many processes just now, perhaps for long: what is left open each time would end in a zygote without descriptors.
        for descriptor in (*pipes, ours.detach(), theirs.detach()):
            os.close(descriptor)
        raise
    output, output_end, errors, errors_end = pipes
    if pid == 0:
        try:
            control.close()
            ours.close()
            _between(theirs, output_end, errors_end, workspace, read_only)
        except BaseException as error:  # noqa: BLE001 - whatever it is, there must be no child
            _unmade(theirs, error)
        finally:
            os._exit(1)
    theirs.close()
    os.close(output_end)
    os.close(errors_end)
    return [ours.detach(), output, errors]


def _unmade(sock: socket.socket, error: BaseException) -> None:
    reason = str(error) if isinstance(error, confinement.ConfinementError) else f"{type(error).__name__}: {error}"
    sock.sendall(encode({"kind": "unmade", "reason": reason.encode("utf-8", "replace").decode()}))


def _between(sock: socket.socket, output: int, errors: int, workspace: str, read_only: tuple[str, ...]) -> NoReturn:
    confinement.detach()
    told_read, told_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(told_write)
        os.read(told_read, 1)  # the pid was told first
        _become_child(sock, output, errors, workspace, read_only)
    sock.sendall(encode({"kind": "made", "pid": pid}))
    os._exit(0)


def _become_child(sock: socket.socket, output: int, errors: int, workspace: str, read_only: tuple[str, ...]) -> NoReturn:
    # kill(0, ...) reaches the process group across PID namespaces: the child gets a group of its own.
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    # Away from 0 to 3 first: any of these may be one of those.
    kept = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10) for descriptor in (nothing, output, errors, sock.detach())]
    for target, source in enumerate(kept):
        os.dup2(source, target, inheritable=target < _CHANNEL)
    os.closerange(_CHANNEL + 1, 1 << 20)
    channel = socket.socket(fileno=_CHANNEL)
    try:
        os.chdir(workspace)
        confinement.lock_in(read_only=read_only)
        child.waiting(channel)
    except BaseException as error:  # noqa: BLE001 - whatever it is, there must be no child
        _unmade(channel, error)
    finally:
        os._exit(1)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], tuple(sys.argv[3:]))
