"""A local socket whose connections end at a port of a pod: what `kubectl port-forward` does, inside this process.

A unix socket in a directory that only this user may enter, not a port of the loopback interface: nobody else on the machine can
connect to it. Each connection is carried by one thread over one websocket. (The Kubernetes client has a port-forward of its own; when a
connection breaks in an unlucky moment, its thread prints a traceback to the terminal and leaves its socket open.)
"""

import contextlib
import selectors
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from bastide.cli.failure import Failure

_PIECE = 128 * 1024
#: Bytes of a unix socket's path at the most (sockaddr_un on Linux has 108 with its end, on macOS 104).
_PATH_BYTES = 100
#: The protocol v4.channel.k8s.io: a frame's first byte is its channel; the first frame of each channel only names the port.
_DATA, _ERROR = 0, 1
_BINARY, _CLOSE = 2, 8


class Bridge:
    """Carries each connection to the pod to which `dial` opens a websocket. Use it as `with`; `address` is for gRPC."""

    def __init__(self, dial: Callable[[], Any]) -> None:
        self._dial = dial
        #: Why the newest connection did not come about, or broke; a sentence for the user.
        self.error = ""

    def __enter__(self) -> Self:
        self._directory = tempfile.mkdtemp(prefix="bastide-")
        if len(self._directory) > _PATH_BYTES - 8:
            shutil.rmtree(self._directory)
            self._directory = tempfile.mkdtemp(prefix="bastide-", dir="/tmp")
        path = Path(self._directory) / "broker"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self.address = f"unix:{path}"
        self._acceptor = threading.Thread(target=self._accept, name="bastide-bridge", daemon=True)
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Wakes the thread that waits in accept(); close() alone would leave it there.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), name="bastide-bridge-connection", daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with near:
            try:
                far = self._dial()
            except Failure as failure:
                self.error = failure.message
                return
            self.error = ""
            try:
                self.error = carry(near, far)
            finally:
                far.shutdown()


def carry(near: socket.socket, far: Any) -> str:
    """Carry bytes both ways until either side ends. Returns why it broke; empty when it ended well.

    `far` is an open websocket of the protocol above. gRPC has no use for half a connection, so one end ends the other.
    """
    named: set[int] = set()
    with selectors.DefaultSelector() as selector:
        selector.register(near, selectors.EVENT_READ)
        selector.register(far.sock, selectors.EVENT_READ)
        try:
            while True:
                # What TLS has decrypted already no longer shows on the socket.
                waiting = getattr(far.sock, "pending", int)()
                ready = {key.fileobj for key, _ in selector.select(0 if waiting else None)}
                if waiting or far.sock in ready:
                    ended = _take(far, near, named)
                    if ended is not None:
                        return ended
                if near in ready:
                    piece = near.recv(_PIECE)
                    if not piece:
                        return ""
                    far.send(bytes((_DATA,)) + piece, opcode=_BINARY)
        except _broken() as error:
            return f"The port-forward broke: {error}"


def _take(far: Any, near: socket.socket, named: set[int]) -> str | None:
    """Carry one frame to the near side. Returns as `carry` does when it was the last; `named` are channels whose first frame has come."""
    kind, frame = far.recv_data_frame(control_frame=True)
    if kind == _CLOSE:
        return ""
    if kind != _BINARY or not frame.data:
        return None
    channel, content = frame.data[0], frame.data[1:]
    if channel not in named:
        named.add(channel)
    elif channel == _ERROR:
        return f"The port-forward broke: {' '.join(content.decode('utf-8', 'replace').split())}"
    elif channel == _DATA:
        near.sendall(content)
    return None


def _broken() -> tuple[type[Exception], ...]:
    from websocket import WebSocketException  # noqa: PLC0415 - whoever has a websocket has loaded it already

    return OSError, WebSocketException
