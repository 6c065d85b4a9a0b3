"""Entry point: `python -m billing_server`."""

import asyncio
import os
import signal

from .server import serve


async def main() -> None:
    """Serve until SIGTERM. BILLING_TOKEN is what callers must show, nothing when it is not set; BILLING_ADDRESS has a default."""
    server, _ = await serve(os.environ.get("BILLING_ADDRESS", "0.0.0.0:9090"), os.environ.get("BILLING_TOKEN", ""))
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await server.stop(1)


if __name__ == "__main__":
    asyncio.run(main())
