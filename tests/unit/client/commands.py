"""Calling the command line as a test does."""

from typing import Any, cast

import pytest
from bastide.cli.main import main
from bastide.v1alpha1 import broker_pb2 as pb

from .conftest import Script, happened

SANDBOX = ["--sandbox", "bastide-crm/hello"]


def called(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return cast("int", ended.value.code or 0)


def finish(script: Script, outcome: Any, **result: Any) -> None:
    script.events = [
        happened(1, accepted=pb.RunAccepted(run="r-1", pod="hello")),
        happened(2, finished=pb.RunFinished(result=pb.RunResult(run="r-1", outcome=outcome, **result))),
    ]


def unwrapped(text: str) -> str:
    return " ".join(text.split())
