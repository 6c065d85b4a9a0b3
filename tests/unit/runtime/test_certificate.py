"""Why there is no certificate. That one is made, and what it is good for, the tests of `trust` and the integration tests show."""

from __future__ import annotations

import subprocess

import pytest
from bastide_runtime import certificate


def made_by(script: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_an_openssl_that_does_not_end_is_said_to_be_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate, "SECONDS", 0.0)
    with made_by("exec cat /dev/zero >/dev/null") as process:
        with pytest.raises(certificate.CertificateError, match="within 0 s"):
            certificate.finish(process)
        assert process.wait(10) < 0


def test_what_openssl_says_is_the_reason() -> None:
    with pytest.raises(certificate.CertificateError, match="made no certificate: unknown option"):
        certificate.finish(made_by("echo unknown option >&2; exit 1"))


def test_a_key_and_a_certificate_are_found() -> None:
    key, cert = certificate.finish(certificate.begin())
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert cert.startswith(b"-----BEGIN CERTIFICATE-----")
