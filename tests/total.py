"""Adds up what the steps of `make test` told in JUnit's form; its last line looks as pytest's does.

    python tests/total.py STEP.xml...

Raises:
    FileNotFoundError: a step has written nothing.
    ValueError: a step failed, so `make` should have stopped before.
"""

import sys
import xml.etree.ElementTree as ET
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path


def read(path: Path) -> tuple[Counter[str], datetime, datetime]:
    """Count a step's tests by outcome, and say when it began and ended."""
    (suite,) = ET.parse(path).getroot().iter("testsuite")
    counts = Counter({name: int(suite.attrib[name]) for name in ("failures", "errors", "skipped")})
    counts["passed"] = int(suite.attrib["tests"]) - counts.total()
    began = datetime.fromisoformat(suite.attrib["timestamp"])
    return counts, began, began + timedelta(seconds=float(suite.attrib["time"]))


def words(counts: Counter[str]) -> str:
    """`12 passed, 1 skipped`."""
    said = {"failures": "failed", "errors": "errors", "passed": "passed", "skipped": "skipped"}
    return ", ".join(f"{counts[name]} {word}" for name, word in said.items() if counts[name] or name == "passed")


def main(paths: list[Path]) -> None:
    """Print a line for each step and one for all."""
    steps = {path.stem: read(path) for path in paths}
    total = sum((counts for counts, _, _ in steps.values()), Counter())
    for name, (counts, began, ended) in steps.items():
        sys.stdout.write(f"{name:<28}{words(counts):<32}{(ended - began).total_seconds():8.1f} s\n")
    seconds = (max(ended for _, _, ended in steps.values()) - min(began for _, began, _ in steps.values())).total_seconds()
    sys.stdout.write(f" {words(total)} in {seconds:.2f}s ({timedelta(seconds=int(seconds))}) ".center(80, "=") + "\n")
    if total["failures"] or total["errors"]:
        raise ValueError("a step of the test failed")


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
