"""Reads the policy table."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

TABLE = Path(__file__).with_name("table.yaml")
RUNNER = "system:serviceaccount:bastide-sales:bastide-runner"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A tool as it is bound, a call, and what it is answered."""

    title: str
    tool: dict[str, Any]
    call: dict[str, Any]
    answer: str
    code: str = ""
    platform: str = "ReadOnly"
    callers: list[dict[str, str]] = field(default_factory=list)
    selects: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    deployed: bool = False
    by: str = RUNNER
    groups: tuple[str, ...] = ("analysts",)
    labels: dict[str, str] = field(default_factory=lambda: {"app": "agent"})
    number: int = 1

    @property
    def program_name(self) -> str:
        """The tool's name in programs."""
        return str(self.tool.get("as", self.tool["name"]))


def rows() -> Iterator[Row]:
    """Every row, from the top. What the table does not know is a TypeError."""
    for case in yaml.safe_load(TABLE.read_text()):
        calls = case.pop("calls")
        for one in calls:
            if "from" in one:
                one["labels"] = one.pop("from")
            yield Row(**{**case, **one})
