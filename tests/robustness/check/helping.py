"""Requests for help: as many helpers as may, for a claim that lives, and an end for each."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from tests.robustness.check.known import HELP
from tests.robustness.check.replay import Replay
from tests.robustness.check.tasks import Life
from tests.robustness.check.violation import Violation
from tests.robustness.evidence import Entry, Evidence
from tests.robustness.history import Outcome


@dataclass(slots=True)
class Request:
    """A request as the log tells it; `drawn` is what its budget has paid for."""

    swarm_id: str
    task_id: str
    attempt: int
    most: int
    budget: int
    helpers: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    drawn: int = 0
    ended: bool = False

    def withdraw(self, swarm_ids: Collection[str]) -> None:
        """Forget offers."""
        self.asked = [each for each in self.asked if each not in swarm_ids]


class _Player:
    def __init__(self, replay: Replay) -> None:
        self.violations: list[Violation] = []
        self.requests: dict[str, Request] = {}
        self._replay = replay

    def play(self, entry: Entry) -> None:
        help_id = str(entry.details.get("help_id", ""))
        if entry.operation == "help_requested":
            self._requested(entry, help_id)
            return
        request = self.requests.get(help_id)
        if request is None:
            self._fault("help-transitions", entry, "nobody has asked for it")
        elif request.ended:
            self._fault("help-transitions", entry, "the request is over")
        elif entry.operation == "cost_tracked":
            self._paid(entry, request)
        else:
            self._follow(entry, request)

    def _requested(self, entry: Entry, help_id: str) -> None:
        most, budget = int(entry.details["max_helpers"]), int(entry.details["budget_micros"])
        about = (entry.swarm_id, entry.task_id, entry.attempt)
        known = self.requests.setdefault(help_id, Request(*about, most, budget))
        if known.ended or (known.swarm_id, known.task_id, known.attempt) != about:
            self._fault("help-transitions", entry, "the request is over, or of another claim")
        known.most, known.budget = most, budget
        self._need_the_claim(entry, known)

    def _follow(self, entry: Entry, request: Request) -> None:
        details = entry.details
        match entry.operation:
            case "help_offered":
                # An offer that ran out may be made anew in one step.
                request.withdraw(details["asked"])
                request.asked += details["asked"]
            case "help_offer_ended":
                request.withdraw(details["asked"])
            case "help_accepted":
                self._accepted(entry, request)
            case "help_left":
                self._require(entry, {*details["helpers"]} <= {*request.helpers}, "not all helped")
                left = details["helpers"]
                request.helpers = [each for each in request.helpers if each not in left]
            case "help_ended":
                self._require(entry, details["helpers"] == request.helpers, "others helped")
                request.ended = True
        together = len(request.helpers) + len(request.asked)
        if entry.operation == "help_offered" and together > request.most:
            self._fault("helpers-at-most", entry, f"{together} help or are asked")

    def _accepted(self, entry: Entry, request: Request) -> None:
        helper = entry.swarm_id
        free = helper not in (*request.helpers, request.swarm_id)
        self._require(entry, free, f"{helper} helps already, or asks itself")
        request.helpers.append(helper)
        request.withdraw([helper])
        self._require(entry, entry.details["helpers"] == request.helpers, "others help")
        if len(request.helpers) > request.most:
            self._fault("helpers-at-most", entry, f"{request.helpers} help")
        # An offer for which there is no place any more is taken back without an entry.
        del request.asked[max(0, request.most - len(request.helpers)) :]
        self._need_the_claim(entry, request)

    def _paid(self, entry: Entry, request: Request) -> None:
        helps = str(entry.details["helper_swarm_id"]) in request.helpers
        self._require(entry, helps, "the swarm does not help")
        self._need_the_claim(entry, request)
        if not entry.task_id:
            return
        request.drawn += int(entry.details["cost_micros"])
        if request.drawn > request.budget:
            why = f"the budget of {request.budget} has paid {request.drawn}"
            self._fault("help-within-its-budget", entry, why)

    def _need_the_claim(self, entry: Entry, request: Request) -> None:
        life = self._at(request.task_id, entry)
        claim = (request.swarm_id, request.attempt)
        if life is None or (life.holder, life.attempt) != claim or not life.parked:
            why = f"attempt {request.attempt} of {request.swarm_id} is not parked then"
            self._fault("help-needs-a-claim", entry, why)

    def _at(self, task_id: str, entry: Entry) -> Life | None:
        """Return a task as it was when an entry was decided, with what it was decided with."""
        lives = (
            version.life
            for version in reversed(self._replay.versions.get(task_id, []))
            if version.revision <= entry.revision
        )
        return next(lives, None)

    def _require(self, entry: Entry, holds: bool, why: str) -> None:
        if not holds:
            self._fault("help-transitions", entry, why)

    def _fault(self, check: str, entry: Entry, why: str) -> None:
        text = (
            f"entry {entry.sequence}: {entry.operation} {entry.details.get('help_id')}, but {why}"
        )
        self.violations.append(Violation(check, text, entry.task_id, entry.swarm_id))


def helping(evidence: Evidence, replay: Replay) -> Iterator[Violation]:
    """Follow the requests for help through the log, to what the fabric shows at the end."""
    player = _Player(replay)
    for entry in evidence.log:
        if entry.operation in HELP or "help_id" in entry.details:
            player.play(entry)
    yield from player.violations
    yield from _acceptances(evidence)
    for help_id, request in player.requests.items():
        ended = evidence.help.get(help_id)
        if ended is None or not (ended and request.ended):
            what = "is not known to the fabric" if ended is None else "has not ended"
            text = f"the request {help_id} {what}, and no claim lives"
            yield Violation("nothing-is-stuck", text, request.task_id, request.swarm_id)
    for help_id in evidence.help.keys() - player.requests.keys():
        yield Violation("help-transitions", f"the log does not know the request {help_id}")


def _acceptances(evidence: Evidence) -> Iterator[Violation]:
    """Who was told that he helps does, and nobody else."""
    entered = {(str(e.details["help_id"]), e.swarm_id) for e in evidence.entries("help_accepted")}
    asked = set()
    for operation in evidence.of_kind("accept"):
        about = (str(operation.fields["help_id"]), operation.swarm_id)
        if operation.outcome is not Outcome.REFUSED:
            asked.add(about)
        if operation.acknowledged and operation.answer["accepted"] and about not in entered:
            text = f"{about[1]} was told that it helps with {about[0]}, and has no entry"
            yield Violation("acknowledged-is-kept", text, swarm_id=about[1])
    for help_id, swarm_id in entered - asked:
        text = f"nobody accepted {help_id} for {swarm_id}"
        yield Violation("every-entry-has-a-cause", text, swarm_id=swarm_id)
