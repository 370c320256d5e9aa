"""Tells the sessions of this replica how requests for help stand that they have to do with."""

from collections.abc import Iterable
from datetime import timedelta

from infrafabric_server.coordinator.frames import HelpWanted
from infrafabric_server.coordinator.help.involved import Involved
from infrafabric_server.coordinator.link import Links, SessionLink
from infrafabric_server.coordinator.records import Records
from infrafabric_server.fleet.models import SessionRole
from infrafabric_server.governor.help.models import HelpRequest
from infrafabric_server.store.mirror import Change

# What ended while a stream was cut is told when it is resumed: so many leases back.
_LEASES = 2


class HelpFrames:
    """Follows the requests; a swarm without a session here is told by another replica, or later."""

    def __init__(
        self, records: Records, links: Links, involved: Involved, *, lease_seconds: float
    ) -> None:
        """Take what is followed; `lease_seconds` is how long a session may be silent."""
        self._records = records
        self._links = links
        self._involved = involved
        self._while_cut = timedelta(seconds=_LEASES * lease_seconds)

    def connect(self) -> None:
        """Follow the requests; call before the mirror starts."""
        self._records.help.subscribe(self._changed)

    def greet(self, link: SessionLink, *, resumed: bool) -> None:
        """Tell a session that has just opened of the requests that last.

        One that goes on after a cut is told, too, of those that ended meanwhile.
        """
        since = self._records.clock.now() - self._while_cut
        found = (self._records.help.get(each) for each in self._involved.about(link.swarm_id))
        told = [
            each
            for each in found
            if each is not None and (each.end_time is None or (resumed and each.end_time >= since))
        ]
        for request in sorted(told, key=lambda each: each.turn):
            self._tell(link, request)

    def _changed(self, change: Change[HelpRequest]) -> None:
        if change.new is None:
            return
        for swarm_id in _concerned(change.old, change.new):
            link = self._links.get(swarm_id)
            if link is not None:
                self._tell(link, change.new)

    def _tell(self, link: SessionLink, request: HelpRequest) -> None:
        if link.role is SessionRole.WORKER:
            link.send(HelpWanted(request))


def _concerned(old: HelpRequest | None, new: HelpRequest) -> Iterable[str]:
    """Return the swarms to which a change is news: each once.

    All that had to do with it learn of its end, and of what is asked for anew. Otherwise the one
    who asks learns who helps and whether anybody fits, and others what changes for themselves.
    """
    if old is None:
        return dict.fromkeys(new.swarm_ids)
    if old.ended:
        return ()
    if new.ended or _said(old) != _said(new):
        return dict.fromkeys((*new.swarm_ids, *old.swarm_ids))
    # Who is asked once more after an offer ran out is told once more.
    asked = {each.swarm_id for each in {*old.asked} ^ {*new.asked}}
    told = sorted(asked | ({*old.helper_ids} ^ {*new.helper_ids}))
    if (old.helpers, old.state) != (new.helpers, new.state):
        told.append(new.swarm_id)
    return told


def _said(request: HelpRequest) -> tuple[object, ...]:
    return (
        request.reason,
        request.needs,
        request.urgency,
        request.budget_micros,
        request.max_helpers,
    )
