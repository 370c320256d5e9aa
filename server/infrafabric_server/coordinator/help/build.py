"""Connects what has to do with requests for help."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from infrafabric_server.coordinator.blockers import Blockers
from infrafabric_server.coordinator.help.candidates import Candidates
from infrafabric_server.coordinator.help.frames import HelpFrames
from infrafabric_server.coordinator.help.involved import Involved
from infrafabric_server.coordinator.help.keeper import MAX_LOOKED_AT, Keeper
from infrafabric_server.coordinator.help.liveness import Liveness
from infrafabric_server.coordinator.help.requests import HelpRequests
from infrafabric_server.coordinator.help.room import Room
from infrafabric_server.coordinator.link import Links
from infrafabric_server.coordinator.records import Records
from infrafabric_server.fleet.leadership import Leadership
from infrafabric_server.governor.breaker.records import BreakerRecords
from infrafabric_server.governor.gate import Gate
from infrafabric_server.governor.help.models import HelpRequest
from infrafabric_server.governor.help.rules import MAX_ENDED
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.roster import Roster
from infrafabric_server.store.mirror import Change


@dataclass(frozen=True, slots=True)
class Help:
    """The parts about help; made by `over`."""

    requests: HelpRequests
    frames: HelpFrames
    involved: Involved
    liveness: Liveness
    records: Records
    roster: Roster
    gate: Gate
    policies: PolicyBook

    @classmethod
    def over(
        cls,
        records: Records,
        involved: Involved,
        links: Links,
        roster: Roster,
        gate: Gate,
        policies: PolicyBook,
        *,
        replica: str,
        lease_seconds: float,
    ) -> "Help":
        """Connect the parts, before the mirror starts."""
        liveness = Liveness(records)
        requests = HelpRequests(
            records,
            Blockers(records),
            liveness,
            Room(records.help, involved, liveness),
            gate,
            policies,
            replica=replica,
        )
        frames = HelpFrames(records, links, involved, lease_seconds=lease_seconds)
        return cls(requests, frames, involved, liveness, records, roster, gate, policies)

    def connect(self, refresh: Callable[[str], None]) -> None:
        """Follow the requests; `refresh` looks again at what a swarm may be given."""
        self.frames.connect()

        def look_again(change: Change[HelpRequest]) -> None:
            before = () if change.old is None else change.old.helping_ids
            after = () if change.new is None else change.new.helping_ids
            for swarm_id in sorted({*before} ^ {*after}):
                refresh(swarm_id)

        self.records.help.subscribe(look_again)

    def keeper(
        self,
        breakers: BreakerRecords,
        leadership: Leadership,
        *,
        most: int = MAX_LOOKED_AT,
        most_ended: int = MAX_ENDED,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> Keeper:
        """Return what keeps requests on offer, whose `run` the leader owns."""
        candidates = Candidates(
            self.records.fleet, self.roster, self.gate, self.involved, self.policies
        )
        return Keeper(
            self.records,
            self.involved,
            self.liveness,
            candidates,
            breakers,
            self.policies,
            leadership,
            most=most,
            most_ended=most_ended,
            sleep=sleep,
        )
