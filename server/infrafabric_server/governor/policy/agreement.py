"""Whether all replicas go by the same policy: each has a file of its own."""

from collections.abc import Mapping

import structlog

from infrafabric_server.fleet.presence import Presence, ReplicaPolicy
from infrafabric_server.governor.policy.book import PolicyBook

_log = structlog.get_logger(__name__)


class Agreement:
    """Compares the policy in force here with those of the other replicas, and logs what differs.

    Replicas with different policies decide differently, so that claims go through one and not
    through another. While a change is rolled out, that is so for a moment.
    """

    def __init__(self, book: PolicyBook, presence: Presence | None, replica: str) -> None:
        """Follow the policies of all replicas from now on; `presence` is None for the only one."""
        self._book = book
        self._presence = presence
        self._replica = replica
        self._told: Mapping[str, str] = {}
        if presence is not None:
            presence.policies.subscribe(lambda _change: self._look())
            book.follow(self._look)

    def others(self) -> Mapping[str, ReplicaPolicy]:
        """Return what the other replicas go by, by their names."""
        known = {} if self._presence is None else dict(self._presence.policies.items())
        known.pop(self._replica, None)
        return known

    def differing(self) -> Mapping[str, str]:
        """Return the hashes of the other replicas that go by another policy, by their names."""
        here = self._book.current.hash
        found = sorted(self.others().items())
        return {name: each.policy_hash for name, each in found if each.policy_hash != here}

    def _look(self) -> None:
        found = self.differing()
        if found == self._told:
            return
        self._told = found
        if found:
            hosts = {name: each.host for name, each in self.others().items() if name in found}
            _log.warning(
                "policies_differ", policy_hash=self._book.current.hash, others=found, hosts=hosts
            )
        else:
            _log.info("policies_agree", policy_hash=self._book.current.hash)
