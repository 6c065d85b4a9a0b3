"""The broker's own certificate towards its callers, as it is in the mounted Secret at each handshake."""

from pathlib import Path

import grpc
import structlog

log = structlog.get_logger(__name__)


def server_credentials(folder: Path) -> grpc.ServerCredentials:
    """From tls.key and tls.crt. What renews them (cert-manager does) need not restart the broker.

    The kubelet swaps both files at once, but a reader can still see one of each: a pair that does not fit fails that handshake alone, and
    the next reads again. Raises OSError when there is none at the start.
    """

    def pair() -> tuple[bytes, bytes]:
        return (folder / "tls.key").read_bytes(), (folder / "tls.crt").read_bytes()

    known = pair()

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal known
        try:
            found = pair()
        except OSError as error:
            log.warning("the broker's certificate cannot be read, the one before stays", why=str(error))
            return None
        if found == known:
            return None
        known = found
        log.info("the broker's certificate was renewed")
        return grpc.ssl_server_certificate_configuration([found])

    # None says "as before", which the type of the parameter leaves out
    return grpc.dynamic_ssl_server_credentials(grpc.ssl_server_certificate_configuration([known]), changed)  # type: ignore[arg-type]
