"""Many swarms ranked at once: the order of `matching`, on arrays."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infrafabric_server.governor.matching import MICROS

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Contenders and their merits; each merit decides where all before it are equal.

    They are: costs nothing, score, is of the preferred model, match, low cost. Scores are
    divided once, from integers below 2^53, so that equal scores are equal numbers.
    """

    match: Floats
    score: Floats
    merits: Floats

    @classmethod
    def of(
        cls,
        shared: NDArray[np.uint8],
        either: NDArray[np.int64],
        reputation: Floats,
        cost: NDArray[np.int64],
        preferred: NDArray[np.bool_],
    ) -> "Ranking":
        """Rank contenders by what they share with a requirement, and what either has."""
        worth = shared * reputation
        priced = cost > 0
        score = np.where(priced, worth * MICROS, worth) / np.where(priced, either * cost, either)
        match = shared / either
        merits = np.stack([~priced, score, preferred, match, np.negative(cost)])
        return cls(match, score, merits)

    def leaders(self, since: Floats) -> NDArray[np.intp]:
        """Return who is best, by all merits and the longest wait; several if only ids differ."""
        ahead = np.arange(len(self.match))
        for merit in (*self.merits, -since):
            values = merit[ahead]
            ahead = ahead[values == values.max()]
        return ahead

    def ties(self) -> Iterator[NDArray[np.intp]]:
        """Yield the contenders best first, those of equal merits together."""
        order = np.lexsort(-self.merits[::-1])
        ordered = self.merits[:, order]
        steps = np.flatnonzero(np.any(ordered[:, 1:] != ordered[:, :-1], axis=0)) + 1
        start = 0
        for end in (*steps, len(order)):
            yield order[start:end]
            start = end
