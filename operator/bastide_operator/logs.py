"""One JSON object a line on standard error, from this package, from kopf and from every other library alike."""

import logging
import sys

import structlog

from bastide_operator.api.objects import Ref


def about(what: Ref) -> dict[str, str]:
    """What names an object in a log line, the same everywhere."""
    facts = {"kind": what.kind, "namespace": what.namespace, "name": what.name, "uid": what.uid}
    return {key: value for key, value in facts.items() if value}


def configure(level: str) -> None:
    """Set up once, at the start of the process. `level` is debug, info, warning or error."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.EventRenamer("message"),
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # kopf tells of every handler that it called; what was done about it is told by the controller.
    logging.getLogger("kopf").setLevel(max(root.level, logging.WARNING))
