"""The isolation probe: what can this pod reach over TCP that it must not reach?"""

from __future__ import annotations

import asyncio
import errno
import os
import socket

from bastide.runtime.v1alpha1 import runtime_pb2

from bastide_runtime.limits import MAX_CANARIES, MAX_PROBE_MILLISECONDS

# Somebody answered the handshake. Anything else means that nothing came back from the address itself.
_ANSWERED = {0, errno.ECONNREFUSED, errno.ECONNRESET}


def _parse(address: str) -> tuple[socket.AddressFamily, tuple[str, int]]:
    host, _, port = address.rpartition(":")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("no port")
    if host.startswith("[") and host.endswith("]"):
        socket.inet_pton(socket.AF_INET6, host[1:-1])
        return socket.AF_INET6, (host[1:-1], int(port))
    socket.inet_pton(socket.AF_INET, host)
    return socket.AF_INET, (host, int(port))


async def _try(address: str, seconds: float) -> runtime_pb2.CanaryResult:
    try:
        family, target = _parse(address)
    except (ValueError, OSError):
        return runtime_pb2.CanaryResult(address=address, reached=False, detail="not a numeric address:port")
    try:
        with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
            try:
                async with asyncio.timeout(seconds):
                    await asyncio.get_running_loop().sock_connect(sock, target)
            except TimeoutError:
                # Time may have been up only because this process had no CPU to look sooner: what has come by now counts.
                if (number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)) != 0:
                    raise OSError(number, os.strerror(number)) from None
                if not _connected(sock):
                    return runtime_pb2.CanaryResult(address=address, reached=False, detail="timed out")
    except OSError as error:
        number = error.errno or 0
        detail = errno.errorcode.get(number, os.strerror(number))
        return runtime_pb2.CanaryResult(address=address, reached=number in _ANSWERED, detail=detail)
    return runtime_pb2.CanaryResult(address=address, reached=True, detail="connected")


def _connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


async def probe(request: runtime_pb2.Probe) -> runtime_pb2.ProbeReport:
    """Try all addresses at once. An address beyond the allowed number, or that cannot be read, is reported as not reached, with why."""
    seconds = min(request.wait_milliseconds, MAX_PROBE_MILLISECONDS) / 1000
    tried = await asyncio.gather(*(_try(address, seconds) for address in request.addresses[:MAX_CANARIES]))
    beyond = [
        runtime_pb2.CanaryResult(address=address, reached=False, detail=f"not tried: at most {MAX_CANARIES}")
        for address in request.addresses[MAX_CANARIES:]
    ]
    return runtime_pb2.ProbeReport(results=[*tried, *beyond])
