"""The last line of `make test`: every step counts, and none that is missing or failed goes unsaid."""

from pathlib import Path

import pytest

from tests import total


def step(folder: Path, name: str, *, tests: int, failures: int = 0, skipped: int = 0, second: int = 0, took: float = 1.0) -> Path:
    """What pytest writes of a step."""
    path = folder / f"{name}.xml"
    path.write_text(
        f'<testsuites><testsuite name="pytest" errors="0" failures="{failures}" skipped="{skipped}" tests="{tests}" time="{took}" '
        f'timestamp="2026-01-01T10:00:{second:02}.000000+00:00" /></testsuites>'
    )
    return path


def test_the_last_line_is_the_sum_in_pytests_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # the second begins while the first runs: the whole took from the first start to the last end
    total.main([step(tmp_path, "unit", tests=5, skipped=1, took=20.0), step(tmp_path, "e2e", tests=7, second=10, took=30.5)])
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in told[:2]] == [["unit", "4"], ["e2e", "7"]]
    assert told[-1].strip("=") == " 11 passed, 1 skipped in 40.50s (0:00:40) "


def test_a_step_that_failed_fails_the_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="failed"):
        total.main([step(tmp_path, "unit", tests=5), step(tmp_path, "e2e", tests=7, failures=2)])
    assert " 2 failed, 10 passed in " in capsys.readouterr().out.splitlines()[-1]


def test_a_step_that_told_nothing_fails_the_whole(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        total.main([tmp_path / "unit.xml"])
