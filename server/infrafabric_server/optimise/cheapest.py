"""What completed work would have cost elsewhere."""


def cheapest(cost_micros: int, own_price: int, cheapest_price: int | None) -> int:
    """Return what an attempt would have cost on the cheapest qualified swarm, rounded down.

    Args:
        cost_micros: what it cost, in micro-US-dollars.
        own_price: what an hour of the swarm costs that did it, in micro-US-dollars.
        cheapest_price: what an hour of the cheapest swarm costs that qualified when it ended;
            None when none did.

    Returns:
        The cost times `cheapest_price` divided by `own_price`; the cost itself when either is 0
        or not known, and no more than the cost: the swarm that did it would have done, too.
    """
    if not own_price or not cheapest_price:
        return cost_micros
    return cost_micros * min(cheapest_price, own_price) // own_price
