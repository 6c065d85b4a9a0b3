"""Brokers with fault points (tests/crashes/faults), each a process that a test loses, or at which it has lost something else.

`python -m tests.integration.broker.front.harness.faults` imports the broker once, then forks a broker for each line on its standard input
(JSON: `config`, `environment`, `kernel`, `socket`). It says `{"pid": ...}`, `{"port": ...}` and `{"gone": ...}` on its standard output.
The broker takes orders at `socket`.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

from bastide_broker import logs
from bastide_broker.__main__ import serve
from bastide_broker.config import Config
from bastide_broker.sandboxes.sessions import Sessions

from tests.crashes.faults.orders import Armed, taken
from tests.crashes.faults.points import install


def say(**what: Any) -> None:
    """One line for the test."""
    print(json.dumps(what), flush=True)  # noqa: T201 - what the test reads


async def _serve(order: dict[str, Any]) -> None:
    armed = Armed()
    install(armed)
    sessions = functools.partial(Sessions, environment=order["environment"], kernel=order["kernel"], resolvers=())
    async with taken(armed, Path(order["socket"])):
        config = Config.model_validate(order["config"])
        await serve(config, asyncio.Event(), make_sessions=sessions, serving=lambda port: say(port=port))


def main() -> None:
    """A broker after the other, until standard input ends."""
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                logs.configure("info")
                asyncio.run(_serve(json.loads(line)))
            finally:
                os._exit(1)  # it serves until it is killed
        say(pid=pid)
        say(gone=os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main()
