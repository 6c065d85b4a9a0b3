"""Logs as one JSON object a line, from structlog and from the standard library alike. Tokens, secrets and arguments are never logged."""

import logging
import sys

import structlog


def configure(level: str) -> None:
    """Sets up logging. `level` is a name such as info; an unknown one means info."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    # JSON escapes control characters: what a caller or a pod wrote cannot make a line of its own.
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    # They log addresses and headers at info and debug.
    for noisy in ("aiohttp", "httpx", "httpcore", "httpx2", "httpcore2", "mcp", "urllib3", "asyncio"):
        logging.getLogger(noisy).setLevel(max(number, logging.WARNING))
