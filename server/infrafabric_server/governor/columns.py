"""What the roster knows of the swarms in each row of its index, as arrays."""

from math import inf
from typing import NamedTuple

import numpy as np

from infrafabric_server.governor.groups import Group


class Kind(NamedTuple):
    """What the ranking knows of a swarm; swarms of one kind differ by their wait alone."""

    capabilities: frozenset[str]
    cost_per_hour_micros: int
    model: str
    reputation: float


class Columns:
    """One array for each fact, as long as the rows need.

    `population` is the number of swarms in a row, 0 when it is not in use; `since` when the
    first of them began to wait, infinite when none is free; `size` the number of their
    capabilities.
    """

    def __init__(self) -> None:
        self.population = np.zeros(1024, np.int64)
        self.since = np.full(1024, inf)
        self.size = np.zeros(1024, np.int64)
        self.cost = np.zeros(1024, np.int64)
        self.reputation = np.zeros(1024, np.float64)
        self.model = np.full(1024, "", np.object_)

    def write(self, group: Group[Kind, float]) -> None:
        """Bring the row of a group up to date, after its queue has changed."""
        row, kind = group.row, group.kind
        if row >= len(self.population):
            for name, column in vars(self).items():
                setattr(self, name, np.concatenate([column, column]))
        self.population[row] = len(group.queue)
        self.since[row] = group.queue[0][0] if group.queue else inf
        self.size[row] = len(kind.capabilities)
        self.cost[row] = kind.cost_per_hour_micros
        self.reputation[row] = kind.reputation
        self.model[row] = kind.model
