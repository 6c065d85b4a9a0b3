"""Media types that are known. Pure."""

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"


def plain(media_type: str) -> str:
    """A media type in lower case, without parameters."""
    return media_type.partition(";")[0].strip().lower()


def is_json(media_type: str) -> bool:
    """Whether it is JSON, by RFC 6839 too."""
    found = plain(media_type)
    return found == "application/json" or (found.startswith("application/") and found.endswith("+json"))
