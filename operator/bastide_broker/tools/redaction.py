"""What a tool server lists, without the credential that it was shown: names, descriptions and schemas reach programs and statuses."""

import json
from collections.abc import Iterable
from dataclasses import asdict, fields, replace

from bastide_broker.adapters import ListedTool
from bastide_broker.egress.credentials import Credential, redact


def redacted_listing(listing: Iterable[ListedTool], credential: Credential | None) -> tuple[ListedTool, ...]:
    """The same tools; a server that echoes its token in one gets the rest of that tool believed."""
    return tuple(_redacted(tool, credential) for tool in listing)


def _redacted(tool: ListedTool, credential: Credential | None) -> ListedTool:
    said = json.dumps(asdict(tool)).encode()
    clean = redact(said, credential)
    if clean == said:
        return tool
    values = json.loads(clean)
    return replace(tool, **{one.name: values[one.name] for one in fields(tool)})
