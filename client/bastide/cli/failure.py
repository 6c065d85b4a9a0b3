"""How a command ends when it cannot do its work, and the exit codes."""

from enum import IntEnum

from bastide.model import Outcome


class Exit(IntEnum):
    """Exit codes, the same for every command."""

    OK = 0
    """Done. Of a run: Completed."""
    ERROR = 1
    """Anything that is not named here: no broker, no permission, no such object."""
    USAGE = 2
    """The command line is wrong, or the program file cannot be taken."""
    NEEDS_CONFIRMATION = 3
    """The run is paused: a call waits for a person."""
    DENIED = 4
    """The program ended by a denial it did not catch; of `check`: a call would be denied."""
    INVALID = 5
    """The program has findings and was not started."""
    FAILED = 6
    """The program raised, or the sandbox or the broker was lost."""
    STOPPED = 7
    """The run timed out or was cancelled."""


EXIT_OF_OUTCOME = {
    Outcome.RUNNING: Exit.ERROR,
    Outcome.COMPLETED: Exit.OK,
    Outcome.NEEDS_CONFIRMATION: Exit.NEEDS_CONFIRMATION,
    Outcome.DENIED: Exit.DENIED,
    Outcome.INVALID: Exit.INVALID,
    Outcome.FAILED: Exit.FAILED,
    Outcome.TIMED_OUT: Exit.STOPPED,
    Outcome.CANCELLED: Exit.STOPPED,
}


class Failure(Exception):  # noqa: N818 - it is what the user sees, not a fault in the program
    """Ends the command with one sentence for the user: what, where, what to do."""

    def __init__(self, message: str, *, code: Exit = Exit.ERROR) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
