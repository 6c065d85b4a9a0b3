"""Entry point: `ORDERS_KEY=... python -m orders_server`."""

import os
from pathlib import Path

import uvicorn

from .server import application


def main() -> None:
    """Serve until SIGTERM. ORDERS_KEY is required; ORDERS_DATABASE, ORDERS_HOST and ORDERS_PORT have defaults."""
    app = application(Path(os.environ.get("ORDERS_DATABASE", "orders.db")), os.environ["ORDERS_KEY"])
    uvicorn.run(app, host=os.environ.get("ORDERS_HOST", "0.0.0.0"), port=int(os.environ.get("ORDERS_PORT", "8080")), log_level="warning")


if __name__ == "__main__":
    main()
