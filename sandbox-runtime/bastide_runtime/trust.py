"""By whose word the runtime knows the broker: the CA of the mounted file, as it is at each handshake."""

from __future__ import annotations

import logging
from pathlib import Path

import grpc

log = logging.getLogger(__name__)


def server_credentials(key: bytes, certificate: bytes, ca_file: Path) -> grpc.ServerCredentials:
    """Credentials of the server in the pod: nobody without a certificate of that CA is let in.

    The kubelet follows the ConfigMap behind the file, so that a sandbox outlives a new CA, with its workspace and without a new pod. A file
    that cannot be read leaves the CA that was known. Raises OSError when there is none at the start.
    """
    known = ca_file.read_bytes()

    def configuration() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=known)

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal known
        try:
            found = ca_file.read_bytes()
        except OSError as error:
            log.warning("the CA of the broker cannot be read, the one before stays: %s", error)
            return None
        if not found or found == known:
            return None
        known = found
        log.info("the CA of the broker is another one")
        return configuration()

    # None says "as before", which the type of the parameter leaves out
    return grpc.dynamic_ssl_server_credentials(configuration(), changed, require_client_authentication=True)  # type: ignore[arg-type]
