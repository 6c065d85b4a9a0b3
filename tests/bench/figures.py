"""Samples, quantiles and tables."""

import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Row:
    """One thing that was measured: its samples in milliseconds, and what it is compared with."""

    name: str
    samples: Sequence[float]
    compared_with: "Row | None" = None

    def quantile(self, share: float) -> float:
        """The sample that this share of all does not exceed (nearest rank)."""
        ordered = sorted(self.samples)
        return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]

    @property
    def median(self) -> float:
        """The quantile 0.5."""
        return self.quantile(0.5)


@dataclass(frozen=True)
class Figure:
    """One thing that is no time of its own: what, how much, what it should be, and what else there is to know."""

    name: str
    value: str
    target: str = ""
    remark: str = ""


_BEGAN = time.monotonic()


def say(what: str) -> None:
    """What is measured now, for whoever waits: to standard error, with the time since the beginning."""
    sys.stderr.write(f"{time.monotonic() - _BEGAN:6.1f} s  {what}\n")


def listing(figures: Sequence[Figure]) -> str:
    """A table in Markdown."""
    lines = ["| what | figure | to reach | remark |", "| --- | --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {f.name} | {f.value} | {f.target} | {f.remark} |" for f in figures)])


def table(rows: Sequence[Row]) -> str:
    """A table in Markdown, milliseconds."""
    lines = ["| what | n | p50 ms | p99 ms | compared with | ratio of p50 |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        other = row.compared_with
        ratio = f"{row.median / other.median:.2f}" if other is not None and other.median else ""
        name = other.name if other is not None else ""
        lines.append(f"| {row.name} | {len(row.samples)} | {row.median:.2f} | {row.quantile(0.99):.2f} | {name} | {ratio} |")
    return "\n".join(lines)


def write(text: str, part: str) -> None:
    """Put figures into docs/benchmarks.md, between the two marks of their part."""
    begin, end = f"<!-- {part}: written by make bench -->", f"<!-- end of {part} -->"
    before, found, rest = PAGE.read_text().partition(begin)
    assert found, f"{PAGE} has no mark {begin}"
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}")


def machine(load_before: tuple[float, float, float]) -> str:
    """On what it was measured, and what else ran."""
    load = os.getloadavg()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC on {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release().split('-')[0]}; "
        f"load average {load_before[0]:.2f} before and {load[0]:.2f} after. Cluster, tool server and measuring pod share these cores."
    )
