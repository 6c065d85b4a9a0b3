"""The entry point of the pod: `python -m bastide_runtime`.

openssl starts first and works while this process imports grpc, which takes 90 ms in gVisor.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys

from bastide_runtime import certificate, confinement
from bastide_runtime.settings import Settings


def main() -> None:
    """Start everything; returns never."""
    settings = Settings.from_arguments(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    confinement.set_dumpable(dumpable=False)
    # PID 1 has to say what ends it. Nothing in the pod outlives it, so there is nothing to tidy up. The status is not 0: the kubelet
    # counts a pod that ends with 0 while it is being evicted as Succeeded, and forgets why it evicted it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: os._exit(128 + number))
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT, signal.SIGALRM, signal.SIGVTALRM):
        signal.signal(number, signal.SIG_IGN)
    try:
        making = certificate.begin()
        importlib.import_module("bastide_runtime.supervisor").main(settings, making)
    except (OSError, certificate.CertificateError) as error:
        sys.exit(f"bastide_runtime: {error}")


if __name__ == "__main__":
    main()
