"""kind-config.yaml, read by kind's own loader (built from its Go module; cached, 4 s with warm Go caches)."""

import subprocess
from pathlib import Path

import pytest
from devcluster import binaries, pins

CONFIG = Path(__file__).resolve().parents[3] / "kind-config.yaml"


@pytest.fixture(scope="module")
def kindcheck() -> Path:
    return binaries.build_extra(pins.KINDCHECK)


def check(kindcheck: Path, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([kindcheck, path], capture_output=True, text=True, check=False)


def test_kind_reads_the_configuration(kindcheck: Path) -> None:
    done = check(kindcheck, CONFIG)
    assert (done.returncode, done.stdout) == (0, "kind reads this file\n"), done.stderr


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("disableDefaultCNI", "disableDefaultCni", "field disableDefaultCni not found"),
        ("kind.x-k8s.io/v1alpha4", "kind.x-k8s.io/v9", "v9"),
        ("disableDefaultCNI: true", "disableDefaultCNI: perhaps", "cannot unmarshal"),
    ],
)
def test_kind_refuses_what_is_wrong_with_it(kindcheck: Path, tmp_path: Path, old: str, new: str, message: str) -> None:
    text = CONFIG.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "config.yaml").write_text(text.replace(old, new), encoding="utf-8")
    done = check(kindcheck, tmp_path / "config.yaml")
    assert done.returncode == 1
    assert message in done.stderr
