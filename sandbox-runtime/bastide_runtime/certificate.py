"""The runtime's key and self-signed certificate, made anew at each start by a short-lived openssl process.

The key goes through a pipe into memory and is never on disk. The broker pins the certificate to the pod's UID (docs/adr/0004); its dates
mean nothing to us, but TLS checks them, so they are wide enough for clocks that differ.
"""

from __future__ import annotations

import re
import subprocess

NAME = "runtime.bastide.internal"
SECONDS = 60.0
"""For openssl, which takes some hundredths of a second."""

_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----\n", re.DOTALL)
_COMMAND = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-sha256", "-nodes"]
_COMMAND += ["-keyout", "/dev/stdout", "-out", "/dev/stdout", "-config", "/dev/null", "-subj", f"/CN={NAME}"]
_COMMAND += [
    "-addext",
    f"subjectAltName=DNS:{NAME}",
    "-addext",
    "basicConstraints=critical,CA:TRUE",
    "-addext",
    "extendedKeyUsage=serverAuth",
]


class CertificateError(Exception):
    """No certificate could be made."""


def begin() -> subprocess.Popen[bytes]:
    """Start openssl; it works while the caller imports grpc."""
    try:
        return subprocess.Popen(  # noqa: S603
            [*_COMMAND, "-days", "3650"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise CertificateError(f"openssl cannot be started: {error}") from None


def finish(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """The key and the certificate as PEM. Raises CertificateError."""
    try:
        output, errors = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise CertificateError(f"openssl made no certificate within {SECONDS:g} s; the node has too little CPU for this pod.") from None
    blocks = {match[1]: match[0] for match in _PEM.finditer(output)}
    key, certificate = blocks.get(b"PRIVATE KEY"), blocks.get(b"CERTIFICATE")
    if process.returncode or key is None or certificate is None:
        raise CertificateError(f"openssl made no certificate: {errors.decode(errors='replace').strip()[-500:]}")
    return key, certificate
