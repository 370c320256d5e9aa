"""G8: a replica compares its policy with those of the others."""

from collections.abc import MutableMapping
from typing import Any

from structlog.testing import capture_logs

from infrafabric_server.clock import SystemClock
from infrafabric_server.fleet.presence import Presence, ReplicaPolicy
from infrafabric_server.governor.policy.agreement import Agreement
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.models import Policy
from infrafabric_server.governor.policy.verdicts import effective
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.mirror import Mirror


async def test_g8_what_differs_is_logged_once_and_when_it_is_over() -> None:
    store = await MemoryStore.open()
    mirror, book = Mirror(store), PolicyBook()
    book.install(effective(Policy(), "aaa"))

    def own() -> ReplicaPolicy:
        return ReplicaPolicy(policy_hash=book.current.hash, host="here")

    presence = Presence(store, mirror, SystemClock(), "me", policy=own)
    agreement = Agreement(book, presence, "me")
    await mirror.start()

    async def says(replica: str, digest: str) -> None:
        other = ReplicaPolicy(policy_hash=digest, host=f"host of {replica}")
        await mirror.commit([], [presence.policies.put(replica, other)])

    logs: list[MutableMapping[str, Any]]
    with capture_logs() as logs:
        await says("me", "stale")
        await says("anna", "aaa")
        assert (agreement.differing(), logs) == ({}, [])
        await says("bert", "bbb")
        await says("bert", "bbb")
        assert agreement.differing() == {"bert": "bbb"}
        book.install(effective(Policy(), "bbb"))
        assert agreement.differing() == {"anna": "aaa"}
        await mirror.commit([], [presence.policies.delete("anna")])
        assert agreement.differing() == {}
    events = [(each["event"], each.get("others"), each["log_level"]) for each in logs]
    assert events == [
        ("policies_differ", {"bert": "bbb"}, "warning"),
        ("policies_differ", {"anna": "aaa"}, "warning"),
        ("policies_agree", None, "info"),
    ]
    assert logs[0]["hosts"] == {"bert": "host of bert"}
    await store.close()


def test_g8_the_only_replica_differs_from_nobody() -> None:
    agreement = Agreement(PolicyBook(), None, "me")
    assert (agreement.others(), agreement.differing()) == ({}, {})
