"""The policy in force."""

import hashlib
from dataclasses import dataclass

from infrafabric_server.governor.policy.models import Policy


@dataclass(frozen=True, slots=True)
class Effective:
    """A policy, and the SHA-256 of its file in hex; that of nothing for the defaults."""

    policy: Policy
    hash: str


class PolicyBook:
    """Hands out the policy in force; ask again for each decision."""

    def __init__(self, policy: Policy | None = None) -> None:
        self._current = Effective(policy or Policy(), hashlib.sha256(b"").hexdigest())

    @property
    def current(self) -> Effective:
        """The policy in force now."""
        return self._current
