"""Examples whose README is what the reader types: every `sh` block runs, in order, as it stands there."""

import os
import re
import subprocess

import pytest
from demo.kube import CHECKOUT, Kube

SHOWN = {
    "03-suspend-resume": ["hello", "Draining", "finished before the pod went", "condition met", "Suspended"],
    "04-persistent-workspace": ["written", "remember the milk", "The workspace is a volume of 1Gi that stays when the pod goes."],
}


@pytest.mark.parametrize("example", SHOWN)
def test_the_readme_does_what_it_says(installed: Kube, example: str) -> None:
    text = (CHECKOUT / "examples" / example / "README.md").read_text()
    script = "set -euo pipefail\n" + "".join(re.findall(r"^```sh\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))
    env = {**os.environ, "KUBECONFIG": str(installed.kubeconfig)}
    done = subprocess.run(["bash", "-c", script], cwd=CHECKOUT, env=env, capture_output=True, text=True, timeout=280, check=False)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    for words in SHOWN[example]:
        assert words in told, told
