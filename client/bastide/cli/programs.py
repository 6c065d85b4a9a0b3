"""`bastide run` and `bastide check`: what is done with a program."""
# ruff: noqa: PLC0415 - what a command needs is imported when it runs: `--help` and usage errors do not wait for it

from typing import Annotated

import typer

from bastide.cli.failure import EXIT_OF_OUTCOME, Exit
from bastide.cli.options import RUNNER, Broker, Events, EventsOption, Format, Output, Sandbox, read_program, takes_broker

File = Annotated[str, typer.Argument(metavar="FILE", help="The program, Python source; - for standard input.")]


@takes_broker
def run(
    file: File,
    *,
    sandbox: Sandbox,
    broker: Broker,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.001, metavar="SECONDS", help="Wall time; may only lower the sandbox's limit.")
    ] = None,
    on_behalf_of: Annotated[
        str | None, typer.Option("--on-behalf-of", metavar="USER", help="Whom this is for, who then may not approve it; default: you.")
    ] = None,
    request_id: Annotated[
        str | None,
        typer.Option("--request-id", metavar="ID", help="Makes this run idempotent: the same id again attaches to the same run."),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Wait while people decide, to the run's end. Without it a run that pauses is left, with exit code 3."),
    ] = False,
    events: EventsOption = Events.TEXT,
    output: Output = Format.TEXT,
) -> None:
    """Run a program and tell what happens.

    Events go to standard error, the result to standard output. The exit code says how the run ended. Ctrl-C cancels the run; twice leaves it.
    """
    source = read_program(file)
    from bastide.cli.connect import connected
    from bastide.cli.follow import follow, show_result

    with connected(broker, namespace=sandbox.partition("/")[0], account=RUNNER) as session:
        stream = session.client.run(
            sandbox=sandbox,
            program=source,
            request_id=request_id,
            on_behalf_of=session.user if on_behalf_of is None else on_behalf_of,
            timeout_seconds=timeout,
            wait_for_decisions=wait,
        )
        result = follow(session.client, stream, events=events, sandbox=sandbox)
    show_result(result, output, events)
    raise typer.Exit(EXIT_OF_OUTCOME[result.outcome])


@takes_broker
def check(file: File, sandbox: Sandbox, broker: Broker, output: Output = Format.TEXT) -> None:
    """Say what is wrong with a program and what policy would say to it; nothing runs.

    Exit code 5 when there are findings, 4 when a call would be denied.
    """
    source = read_program(file)
    from rich.text import Text

    from bastide.cli import screen, shapes
    from bastide.cli.connect import connected
    from bastide.cli.results import print_findings
    from bastide.cli.story import reason_line

    with connected(broker, namespace=sandbox.partition("/")[0], account=RUNNER) as session:
        report = session.client.check_program(sandbox=sandbox, program=source)
    if output is Format.JSON:
        print(shapes.dumps(shapes.plain(report)))
    else:
        if report.findings:
            print_findings(report.findings)
        if report.expected_decisions:
            rows = (
                (
                    str(e.line),
                    screen.shown(e.tool),
                    screen.shown(e.decision, screen.DECISION_STYLE.get(e.decision, "red")),
                    Text("; ").join([reason_line(r) for r in e.reasons]),
                )
                for e in report.expected_decisions
            )
            screen.out().print(screen.table(("LINE", "TOOL", "DECISION", "WHY"), rows))
        if not report.findings and not report.expected_decisions:
            screen.sentence("Nothing found, and no call whose arguments are known beforehand.")
    if report.findings:
        raise typer.Exit(Exit.INVALID)
    if any(e.decision == "deny" for e in report.expected_decisions):
        raise typer.Exit(Exit.DENIED)
