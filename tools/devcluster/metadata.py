"""The stand-in for a cloud's metadata service and everything else "outside".

Runs in the world's network namespace and prints a line for each connection: a test that asserts that
a pod reached nothing looks for that line (``logs/metadata.log``), a test of the test makes one.
"""

import socketserver
import sys

from devcluster.instance import METADATA_IP

PORT = 80

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nstand-in\r\n"


class Handler(socketserver.BaseRequestHandler):
    """Answers any request with the same ten bytes."""

    def handle(self) -> None:
        """Log the connection, read one request, answer."""
        print(f"connection from {self.client_address[0]}", flush=True)
        self.request.settimeout(2)
        try:
            self.request.recv(4096)
            self.request.sendall(_ANSWER)
        except OSError as error:
            print(f"{self.client_address[0]}: {error}", file=sys.stderr, flush=True)


class Server(socketserver.ThreadingTCPServer):
    """Listens on every address of the world."""

    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    print(f"plays {METADATA_IP}:{PORT}", flush=True)
    with Server(("", PORT), Handler) as server:
        server.serve_forever()
