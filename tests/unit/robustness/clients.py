"""What the clients of the ideal fabric ask, by chance."""

from collections.abc import Callable
from typing import Any

from tests.robustness.evidence import Evidence
from tests.robustness.history import Outcome
from tests.unit.robustness.ideal import LIVE, SLOTS, IdealFabric, Work, shown
from tests.unit.robustness.ideal_governor import IdealGovernor

OK, REFUSED, UNKNOWN = Outcome.OK, Outcome.REFUSED, Outcome.UNKNOWN


class Clients:
    """Ask one thing after another of a fabric, and finish everything in the end."""

    def __init__(self, fabric: IdealFabric) -> None:
        self._fabric = fabric
        self._chance = fabric.chance
        self._tags = 0
        self._boards = 0
        self._governor = IdealGovernor(fabric)

    def run(self, steps: int) -> Evidence:
        """Return the evidence of so many requests."""
        self._fabric.begin()
        ways = self.ways()
        for _ in range(steps):
            self._chance.choice(ways)()
        self._finish()
        return self.evidence()

    def ways(self) -> list[Callable[[], None]]:
        """Return what is done, each as likely as another."""
        return [
            *(self._create, self._create, self._claim, self._claim, self._claim),
            *(self._progress, self._end, self._end, self._block, self._resolve),
            *(self._stale, self._stale, self._read, self._text, self._cancel, self._lose),
            self._take_over,
        ]

    def evidence(self) -> Evidence:
        """Return all that there is to see."""
        return self._fabric.evidence()

    def _tag(self) -> int:
        self._tags += 1
        return self._tags

    def _outcome(self) -> Outcome:
        return UNKNOWN if self._chance.random() < 0.2 else OK

    def _pick(self, *states: str) -> Work | None:
        found = [work for work in self._fabric.tasks.values() if work.state in states]
        return self._chance.choice(found) if found else None

    def _create(self) -> None:
        self._boards += 1
        board: list[Work] = []
        for place in range(self._chance.randint(1, 3)):
            known = [*self._fabric.tasks, *(work.task_id for work in board)]
            alive = [n for n in known if n not in self._fabric.tasks or self._may_end_well(n)]
            waits_for = tuple(
                self._chance.sample(alive, min(len(alive), self._chance.randrange(3)))
            )
            most = self._chance.choice((None, 10**5, 4 * 10**5))
            board.append(Work(f"b{self._boards}-{place}", waits_for, max_cost=most))
        ids = [work.task_id for work in board]
        asked = [{"task_id": work.task_id, "dependencies": list(work.waits_for)} for work in board]
        outcome = self._outcome()
        if outcome is UNKNOWN and self._chance.random() < 0.5:
            self._fabric.request("create", f"board-{self._boards}", UNKNOWN, tasks=asked)
            return
        answer = {"task_ids": ids} if outcome is OK else {}
        self._fabric.request("create", f"board-{self._boards}", outcome, tasks=asked, answer=answer)
        self._fabric.revision += 1
        for work in board:
            self._fabric.tasks[work.task_id] = work
        for work in board:
            if self._fabric.open_dependencies(work):
                work.state = "BLOCKED"
            self._fabric.enter("task_created", work)
            self._fabric.tell(work)
        self._fabric.request(
            "create", f"board-{self._boards}", OK, tasks=asked, answer={"task_ids": ids}
        )

    def _may_end_well(self, task_id: str) -> bool:
        return self._fabric.tasks[task_id].state not in ("FAILED", "CANCELLED")

    def _claim(self) -> None:
        work = self._pick("AVAILABLE")
        free = [s for s, slots in SLOTS.items() if self._fabric.working(s) < slots]
        admitted = [s for s in free if work is not None and self._governor.may(s, work)]
        if work is not None and admitted:
            self._give(work, self._chance.choice(admitted))

    def _give(self, work: Work, swarm_id: str) -> None:
        work.state, work.owner, work.attempt = "CLAIMED", swarm_id, work.attempt + 1
        about = {"swarm_id": swarm_id, "task_id": work.task_id}
        if self._chance.random() < 0.5:
            answer = {"claimed": True, "attempt": work.attempt}
            self._fabric.request("claim", "", OK, answer=answer, **about)
            self._fabric.decide("claim_won", work, swarm_id=swarm_id)
        else:
            self._fabric.decide("task_assigned", work, swarm_id=swarm_id)
            self._fabric.see(swarm_id, "received", attempt=work.attempt, **about)
        self._governor.given(work)

    def _about(self, work: Work) -> dict[str, Any]:
        return {"swarm_id": work.owner, "task_id": work.task_id, "attempt": work.attempt}

    def _progress(self) -> None:
        work = self._pick("CLAIMED")
        if work is None:
            return
        note, percent = f"note-{self._tag()}", self._chance.choice((25, 50, 75))
        self._fabric.request("progress", note, self._outcome(), **self._about(work))
        work.milestone = percent
        details = {"note": note, "milestone_percent": percent}
        self._fabric.decide("progress_reported", work, swarm_id=work.owner, details=details)

    def _end(self) -> None:
        work = self._pick("CLAIMED")
        if work is None:
            return
        match self._chance.choice(("complete", "complete", "fail", "release")):
            case "complete":
                self._complete(work, self._outcome())
            case "fail":
                self._fail(work)
            case _:
                reason = f"released-{self._tag()}"
                self._fabric.request("release", reason, self._outcome(), **self._about(work))
                self._give_back(work, "task_released", {"reason": reason})

    def _complete(self, work: Work, outcome: Outcome) -> None:
        # More than was reported before; nobody completes for less.
        cost, about = 10**5 + self._tag(), self._about(work)
        self._fabric.request("complete", cost, outcome, **about)
        work.state, work.cost, work.milestone = "COMPLETED", cost, 100
        self._no_blocker(work)
        details = self._governor.completed(work)
        self._fabric.decide("task_completed", work, swarm_id=work.owner, details=details)
        self._governor.end(work)
        if outcome is UNKNOWN:
            self._fabric.request("complete", cost, OK, **about)
        self._follow()

    def _fail(self, work: Work) -> None:
        reason = f"failed-{self._tag()}"
        self._fabric.request("fail", reason, self._outcome(), **self._about(work))
        work.failures += 1
        final = work.failures >= 2
        details = {"reason": reason, "state": "failed" if final else "available"}
        if final:
            work.state = "FAILED"
            self._no_blocker(work)
            self._fabric.decide("task_failed", work, swarm_id=work.owner, details=details)
            self._governor.end(work)
        else:
            self._give_back(work, "task_failed", details)
        self._follow()

    def _give_back(
        self, work: Work, operation: str, details: dict[str, Any], *, ended: bool = True
    ) -> None:
        owner = work.owner
        self._no_blocker(work)
        work.state = "AVAILABLE"
        self._fabric.decide(operation, work, swarm_id=owner, details=details)
        if ended:
            self._governor.end(work)

    def _no_blocker(self, work: Work) -> None:
        work.parked = False
        self._fabric.blockers.discard((work.owner, work.task_id))

    def _follow(self) -> None:
        """Let the tasks follow that waited for one that has ended."""
        for work in list(self._fabric.tasks.values()):
            if work.state != "BLOCKED":
                continue
            states = {self._fabric.tasks[name].state for name in work.waits_for}
            if states & {"FAILED", "CANCELLED"}:
                work.state = "CANCELLED"
                self._fabric.decide("task_cancelled", work)
                self._follow()
            elif states == {"COMPLETED"}:
                work.state = "AVAILABLE"
                self._fabric.decide("task_unblocked", work)

    def _block(self) -> None:
        work = self._pick("CLAIMED")
        if work is None:
            return
        text = f"blocked-{self._tag()}"
        self._fabric.request("block", text, self._outcome(), **self._about(work))
        self._park(work, text)

    def _park(self, work: Work, text: str) -> None:
        work.parked = True
        self._fabric.blockers.add((work.owner, work.task_id))
        details = {"description": text}
        self._fabric.decide("blocker_reported", work, swarm_id=work.owner, details=details)

    def _resolve(self) -> None:
        work = self._pick("CLAIMED")
        if work is not None and work.parked:
            self._unpark(work)

    def _unpark(self, work: Work) -> None:
        text = f"resolved-{self._tag()}"
        about = {"swarm_id": work.owner, "task_id": work.task_id}
        self._fabric.request("resolve", text, OK, **about)
        self._no_blocker(work)
        details = {"resolution": text}
        self._fabric.decide("blocker_resolved", work, swarm_id=work.owner, details=details)
        self._governor.end_help(work)

    def _stale(self) -> None:
        work = self._pick("CLAIMED", "AVAILABLE")
        if work is not None and work.attempt > 1:
            about = {**self._about(work), "attempt": work.attempt - 1}
            self._fabric.request("complete", self._tag(), REFUSED, "StaleAttempt", **about)

    def _read(self) -> None:
        work = self._pick(*LIVE, "COMPLETED", "FAILED", "CANCELLED")
        if work is not None:
            self._fabric.request("get", "", OK, answer=shown(work), task_id=work.task_id)

    def _text(self) -> None:
        text = f"text-{self._tag()}"
        self._fabric.request("broadcast", text, OK)
        self._fabric.decide("broadcast_sent", details={"message": text})
        for client in ("watcher-0", "watcher-1"):
            told = {"what": "broadcast", "about": f"text {text}", "status": "", "message": text}
            cursor = str(self._fabric.revision)
            self._fabric.see(client, "status-changed", cursor=cursor, **told)
        self._fabric.see("ada.1", "text", message=text)
        self._fabric.see("raw", "stream", sequences=[1, 2, 3])

    def _cancel(self) -> None:
        if self._chance.random() < 0.7:
            return
        work = self._pick(*LIVE)
        if work is not None:
            self._fabric.request("cancel", f"off-{self._tag()}", OK, task_id=work.task_id)
            self._no_blocker(work)
            work.state = "CANCELLED"
            self._fabric.decide("task_cancelled", work)
            self._governor.end(work)
            self._follow()

    def _lose(self) -> None:
        work = self._pick("CLAIMED")
        if work is not None:
            self._give_back(work, "claim_taken_back", {"kind": "session_lost"})

    def _take_over(self) -> None:
        work = self._pick("CLAIMED")
        if work is not None:
            work.attempt += 1
            self._fabric.decide("claim_taken_over", work, swarm_id=work.owner)
            self._governor.taken_over(work)

    def _finish(self) -> None:
        while (work := self._pick("AVAILABLE", "CLAIMED")) is not None:
            if work.state == "AVAILABLE":
                held = self._pick("CLAIMED")
                if held is None:
                    self._give(work, "ada")
                else:
                    work = held
            if work.parked:
                self._unpark(work)
            self._complete(work, OK)
