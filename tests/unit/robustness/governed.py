"""What the clients of the ideal fabric ask of its governor, by chance."""

from collections.abc import Callable
from typing import Any

from tests.robustness.evidence import FABRIC, Evidence
from tests.unit.robustness.clients import OK, REFUSED, Clients
from tests.unit.robustness.ideal import SLOTS
from tests.unit.robustness.ideal_governor import HOLD, MOST_HELPERS, Call

_HELPERS = ("cy", "dan", "eve")


class GovernedClients(Clients):
    """Spend, limit, open and close, ask for help and give it, besides all else."""

    def ways(self) -> list[Callable[[], None]]:
        """Return what is done, each as likely as another."""
        return [
            *super().ways(),
            *(self._cost, self._cost, self._own_cost, self._limit, self._trip, self._reset),
            *(self._reset, self._ask, self._ask, self._help, self._help, self._help, self._pause),
            *(self._help_cost, self._help_cost, self._rise, self._acknowledge, self._claim),
            *(self._claim, self._claim, self._offer, self._offer, self._offer, self._leave),
        ]

    def _finish(self) -> None:
        for scope in sorted(self._governor.open):
            self._close(scope)
        for account in sorted(self._governor.limits):
            self._set_limit(account, None)
        super()._finish()

    def evidence(self) -> Evidence:
        """Return all that there is to see, with what the governor shows."""
        governor, evidence = self._governor, super().evidence()
        evidence.accounts = governor.accounts()
        evidence.reported = {name: each.total for name, each in evidence.accounts.items()}
        evidence.open_breakers = set(governor.open)
        evidence.help = dict.fromkeys(governor.ended_calls, True)
        evidence.escalations = dict(governor.records)
        return evidence

    def _cost(self) -> None:
        work = self._pick("CLAIMED")
        if work is None:
            return
        operation, micros = f"op-{self._tag()}", self._chance.randint(1, 9)
        outcome = self._outcome()
        about = {**self._about(work), "micros": micros}
        self._fabric.request("cost", operation, outcome, **about)
        told = self._governor.draw(work, micros)
        details = {"operation": operation, "cost_micros": micros, **told}
        self._fabric.decide("cost_tracked", work, swarm_id=work.owner, details=details)
        if outcome is not OK:
            self._fabric.request("cost", operation, OK, **about)

    def _own_cost(self) -> None:
        operation, micros = f"op-{self._tag()}", self._chance.randint(1, 9)
        swarm_id = self._chance.choice([*SLOTS])
        if self._chance.random() < 0.3:
            self._fabric.request("cost", operation, REFUSED, swarm_id=swarm_id, micros=micros)
            return
        self._fabric.request("cost", operation, self._outcome(), swarm_id=swarm_id, micros=micros)
        self._governor.charge(swarm_id, micros)
        details = {"operation": operation, "cost_micros": micros}
        self._fabric.decide("cost_tracked", swarm_id=swarm_id, details=details)

    def _limit(self) -> None:
        if self._chance.random() < 0.6:
            return
        account = self._chance.choice([*SLOTS, FABRIC])
        if self._chance.random() < 0.5:
            self._set_limit(account, None)
            return
        # Limits differ in their last digits, by which their entries are known.
        whole = self._governor.spent[account] // 10**5 + self._chance.choice((0, 10, 40))
        self._set_limit(account, whole * 10**5 + self._tag())

    def _set_limit(self, account: str, limit: int | None) -> None:
        swarm_id = "" if account == FABRIC else account
        tag = "" if limit is None else limit
        self._fabric.request("budget", tag, self._outcome(), swarm_id=swarm_id)
        self._governor.limits[account] = limit
        name = account if account == FABRIC else f"swarm/{account}"
        details = {"account": name, "limit_micros": limit, "period": None}
        self._fabric.decide("budget_set", swarm_id=swarm_id, details=details)

    def _trip(self) -> None:
        if self._chance.random() < 0.6:
            return
        scope, text = self._chance.choice([*SLOTS, HOLD]), f"trip-{self._tag()}"
        is_open = scope in self._governor.open
        kind = "trip" if scope else "hold"
        outcome, answer = self._outcome(), {"done": not is_open}
        self._fabric.request(
            kind, text, outcome, swarm_id=scope, answer=answer if outcome is OK else {}
        )
        if not is_open:
            self._governor.trip(scope, "manual", text)

    def _reset(self) -> None:
        if self._governor.open:
            self._close(self._chance.choice(sorted(self._governor.open)))

    def _close(self, scope: str) -> None:
        text, kind = f"reset-{self._tag()}", "reset" if scope else "end-hold"
        outcome = self._outcome()
        self._fabric.request(kind, text, outcome, swarm_id=scope)
        self._governor.reset(scope, text)

    def _ask(self) -> None:
        work = self._pick("CLAIMED")
        if work is None or work.task_id in self._governor.calls:
            return
        text, help_id = f"help-{self._tag()}", f"h{self._tag()}"
        self._fabric.request("help", text, self._outcome(), **self._about(work))
        self._park(work, text)
        call = Call(help_id, work, budget=10)
        self._governor.calls[work.task_id] = call
        said = {"help_id": help_id, "reason": text, "max_helpers": MOST_HELPERS}
        self._fabric.enter(
            "help_requested",
            work,
            swarm_id=work.owner,
            details={**said, "budget_micros": call.budget},
        )
        if self._chance.random() < 0.5:
            self._governor.escalate(f"help:{help_id}")

    def _call(self) -> Call | None:
        calls = list(self._governor.calls.values())
        return self._chance.choice(calls) if calls else None

    def _help(self) -> None:
        call, helper = self._call(), self._chance.choice(_HELPERS)
        if call is None or helper in call.helpers or HOLD in self._governor.open:
            return
        accepted = len(call.helpers) < MOST_HELPERS
        about = {"swarm_id": helper, "help_id": call.help_id}
        self._fabric.request("accept", "", OK, answer={"accepted": accepted}, **about)
        if accepted:
            call.helpers.append(helper)
            call.asked = [each for each in call.asked if each != helper]
            # An offer for which there is no place any more is taken back without an entry.
            del call.asked[MOST_HELPERS - len(call.helpers) :]
            details = {"help_id": call.help_id, "helpers": list(call.helpers)}
            self._enter_help("help_accepted", call, helper, details)

    def _offer(self) -> None:
        """Somebody is asked, or once more, or no more."""
        call = self._call()
        if call is None:
            return
        others = [each for each in _HELPERS if each not in (*call.helpers, *call.asked)]
        if call.places and others:
            call.asked.append(self._chance.choice(others))
            self._enter_offer("help_offered", call, call.asked[-1])
        elif call.asked and self._chance.random() < 0.5:
            call.asked.append(call.asked.pop(0))
            self._enter_offer("help_offered", call, call.asked[-1])
        elif call.asked:
            self._enter_offer("help_offer_ended", call, call.asked.pop(0))

    def _enter_offer(self, operation: str, call: Call, swarm_id: str) -> None:
        details = {"help_id": call.help_id, "asked": [swarm_id]}
        self._enter_help(operation, call, call.work.owner, details)

    def _leave(self) -> None:
        """A helper goes away."""
        call = self._call()
        if call is not None and call.helpers and self._chance.random() < 0.3:
            left = call.helpers.pop(0)
            details = {"help_id": call.help_id, "helpers": [left]}
            self._enter_help("help_left", call, call.work.owner, details)

    def _enter_help(self, operation: str, call: Call, swarm_id: str, details: object) -> None:
        self._fabric.decide(
            operation,
            swarm_id=swarm_id,
            task_id=call.work.task_id,
            attempt=call.work.attempt,
            details=details,
        )

    def _help_cost(self) -> None:
        call = self._call()
        if call is None or not call.helpers:
            return
        operation, micros = f"op-{self._tag()}", self._chance.randint(1, 9)
        helper = self._chance.choice(call.helpers)
        asked: dict[str, Any] = {"swarm_id": helper, "help_id": call.help_id, "micros": micros}
        self._fabric.request("help-cost", operation, self._outcome(), **asked)
        covered = min(micros, call.budget - call.drawn)
        said = {"operation": operation, "help_id": call.help_id, "helper_swarm_id": helper}
        self._fabric.revision += 1
        if covered:
            call.drawn += covered
            told = self._governor.draw(call.work, covered)
            details = {**said, "cost_micros": covered, **told}
            owner = call.work.owner
            self._fabric.enter("cost_tracked", call.work, swarm_id=owner, details=details)
            self._fabric.tell(call.work)
        if covered < micros:
            self._governor.charge(helper, micros - covered)
            details = {**said, "cost_micros": micros - covered}
            self._fabric.enter("cost_tracked", swarm_id=helper, details=details)

    def _rise(self) -> None:
        records = self._governor.records
        found = [name for name, each in records.items() if each[0] == "OPEN" and each[1] < 3]
        if found:
            about = self._chance.choice(found)
            records[about] = ("OPEN", records[about][1] + 1)
            self._governor.tell("escalation_raised", about)

    def _acknowledge(self) -> None:
        records = self._governor.records
        found = [name for name, each in records.items() if each[0] != "CLOSED"]
        if found:
            about, text = self._chance.choice(found), f"seen-{self._tag()}"
            self._fabric.request("acknowledge", text, self._outcome(), escalation_id=about)
            records[about] = ("ACKNOWLEDGED", records[about][1])
            said = {"acknowledged_by": "Ann", "acknowledgement": text}
            self._governor.tell("escalation_acknowledged", about, **said)

    def _pause(self) -> None:
        """An attempt fails because of its swarm's provider, whose pool pauses for a while."""
        work = self._pick("CLAIMED")
        if work is None or self._chance.random() < 0.5:
            return
        swarm_id, reason = work.owner, f"provider-{self._tag()}"
        self._fabric.request("fail", reason, self._outcome(), **self._about(work))
        self._give_back(work, "task_failed", {"reason": reason, "state": "available"}, ended=False)
        until = {"pool_id": f"swarm:{swarm_id}", "paused_until": f"t{self._tag()}"}
        self._fabric.enter("pool_paused", swarm_id=swarm_id, details={**until, "reason": reason})
        self._governor.end(work)
        self._fabric.decide("pool_resumed", details=until)
