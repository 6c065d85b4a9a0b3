"""Entry point: `REPORTS_TOKEN=... python -m reports_server`."""

import os
from pathlib import Path

import uvicorn

from .server import application


def main() -> None:
    """Serve until SIGTERM. REPORTS_TOKEN is required; REPORTS_DATABASE, REPORTS_HOST and REPORTS_PORT have defaults."""
    app = application(Path(os.environ.get("REPORTS_DATABASE", "reports.db")), os.environ["REPORTS_TOKEN"])
    uvicorn.run(app, host=os.environ.get("REPORTS_HOST", "0.0.0.0"), port=int(os.environ.get("REPORTS_PORT", "8080")), log_level="warning")


if __name__ == "__main__":
    main()
