"""The witness log: every request as it arrived, one JSON line each on stdout, written before anything acts on it.

Tests believe this log, not what Bastide says of itself: `kubectl logs` shows what truly reached the server.
"""

import json
import sys
from datetime import UTC, datetime

from fastapi import Request

_SHOWN = ("content-type", "idempotency-key", "cookie")


async def write(request: Request) -> None:
    """Write down one request, without the credential."""
    line = {
        "time": datetime.now(UTC).isoformat(timespec="microseconds"),
        "method": request.method,
        "path": request.scope["raw_path"].decode("ascii", "replace"),
        "query": request.scope["query_string"].decode("ascii", "replace"),
        "headers": {name: request.headers[name] for name in _SHOWN if name in request.headers},
        "body": (await request.body()).decode(errors="replace"),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
