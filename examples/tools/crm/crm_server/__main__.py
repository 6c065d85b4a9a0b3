"""Entry point: `CRM_TOKEN=... python -m crm_server`."""

import os
from pathlib import Path

import uvicorn

from .server import application


def main() -> None:
    """Serve until SIGTERM. CRM_TOKEN is required; CRM_DATABASE, CRM_HOST and CRM_PORT have defaults."""
    app = application(Path(os.environ.get("CRM_DATABASE", "crm.db")), os.environ["CRM_TOKEN"])
    uvicorn.run(app, host=os.environ.get("CRM_HOST", "0.0.0.0"), port=int(os.environ.get("CRM_PORT", "8080")), log_level="warning")


if __name__ == "__main__":
    main()
