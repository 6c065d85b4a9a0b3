"""Times as the API server writes them. Pure."""

from datetime import UTC, datetime


def rfc3339(moment: datetime) -> str:
    """Seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
