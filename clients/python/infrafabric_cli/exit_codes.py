"""What the exit code of every command means.

    0    done
    1    refused: the fabric said no, the claim was lost, or nothing was found
    2    wrong use: an argument or an input file breaks a rule
    3    unreachable: no answer; whether the command took effect is not known
    4    the witness log is damaged
    5    a server: the data are in a format that only another release knows
    130  interrupted
    141  whoever read the output has closed it

A script can tell by the code alone what to do next: 1 needs a decision, 2 a change, 3 a
retry, 4 a person, 5 another release.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    TAMPERED = 4
    OTHER_FORMAT = 5
    INTERRUPTED = 130
    PIPE_CLOSED = 141
