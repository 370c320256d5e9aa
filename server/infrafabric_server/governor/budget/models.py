"""The fabric's limit among replicas, as it is stored."""

from pydantic import BaseModel, ConfigDict


class Allotments(BaseModel):
    """Shares of the fabric's limit, by replica; stored under `allotments/fabric`.

    A share is what the claims that a replica writes may have reserved together, less what they
    spent since it was counted as spent by the leader. What was counted as spent and all shares
    are at most the limit. `wanted` names replicas that lack some of it, and `passed` those that
    have given back since what they do not need.
    """

    model_config = ConfigDict(frozen=True)

    shares: dict[str, int] = {}
    wanted: frozenset[str] = frozenset()
    passed: frozenset[str] = frozenset()
