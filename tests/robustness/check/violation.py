"""What a check finds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.robustness.evidence import Evidence


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must not be.

    Attributes:
        check: name of the check that found it.
        text: what is wrong.
        task_id: the task whose history shows it, if one does.
        swarm_id: the swarm whose history shows it, if one does.
    """

    check: str
    text: str
    task_id: str = ""
    swarm_id: str = ""


Check = Callable[[Evidence], Iterator[Violation]]
