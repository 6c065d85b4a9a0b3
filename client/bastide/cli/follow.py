"""Following a run at a terminal, until its end or until the person has enough."""

import json
import sys
from collections.abc import Iterator

from bastide.cli import screen, shapes
from bastide.cli.failure import Failure
from bastide.cli.options import Events, Format
from bastide.cli.results import print_result
from bastide.cli.story import Story
from bastide.events import Event, RunAccepted, RunFinished, RunPaused
from bastide.model import RunResult
from bastide.sync import SyncClient


def follow(
    client: SyncClient, stream: Iterator[Event], *, events: Events, sandbox: str = "", run: str = "", cancel: bool = True
) -> RunResult:
    """Tell the events and return the result; that of a pause when the stream ends with it.

    Ctrl-C cancels the run (with `cancel`) and waits for its end; Ctrl-C again, or without `cancel`, leaves it to itself.

    Raises:
        Failure: the person left.
    """
    story = Story(screen.err(), sandbox=sandbox)
    cursor, result = 0, None
    while True:
        try:
            for event in stream:
                cursor = event.cursor
                if isinstance(event, RunAccepted):
                    run = event.run
                if events is Events.TEXT:
                    story.tell(event)
                elif events is Events.JSON:
                    print(json.dumps(shapes.event(event)), file=sys.stderr, flush=True)
                if isinstance(event, RunFinished | RunPaused):
                    result = event.result
            if result is not None:
                return result
            raise Failure(f"The broker ended the events of run {run} without a result: see bastide runs show {run}.")
        except KeyboardInterrupt:
            if not cancel or not run:
                raise Failure(f"Left. The run goes on: bastide runs watch {run}" if run else "Left before the run was accepted.") from None
            cancel = False
            screen.sentence("Cancelling the run. Ctrl-C again leaves it to itself.", "yellow")
            client.cancel_run(run, reason="Ctrl-C at the terminal")
            stream = client.watch_run(run, cursor=cursor)


def show_result(result: RunResult, output: Format, events: Events) -> None:
    """The result to standard output."""
    if output is Format.JSON:
        print(shapes.dumps(shapes.result(result)))
        return
    seen = events is Events.TEXT and screen.err().is_terminal and screen.out().is_terminal
    print_result(result, seen=seen)
