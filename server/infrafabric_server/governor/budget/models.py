"""The fabric's limit among replicas, as it is stored."""

from pydantic import BaseModel, ConfigDict


class Allotments(BaseModel):
    """Shares of the fabric's limit, by replica; stored under `allotments/fabric`.

    A share is the most that the claims of a replica may have reserved at once. The leader lowers
    it when it counts as spent what was paid out of it: all shares and what is spent are together
    at most the limit. `wanted` names replicas that need more than their share, and `passed` those
    that have given back since then what they did not need.
    """

    model_config = ConfigDict(frozen=True)

    shares: dict[str, int] = {}
    wanted: frozenset[str] = frozenset()
    passed: frozenset[str] = frozenset()
