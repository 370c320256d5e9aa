"""How the session's protocol claims: offers, credit, and the claims of callers."""

from infrafabric.session.protocol import SessionProtocol
from infrafabric.v1.task_pb2 import TASK_STATE_AVAILABLE, TASK_STATE_COMPLETED, Task
from tests.unit.client.wire import Wire, claims, completes, settings


def test_claim_of_a_caller_is_told_to_the_caller_alone(wire: Wire) -> None:
    wire.model.tasks["t1"] = Task(task_id="t1", state=TASK_STATE_AVAILABLE)
    request_id = wire.ask(claims("t1"))
    wire.settle()
    assert wire.answers[request_id].claim.claimed
    assert wire.received == []


def test_claim_that_was_won_in_a_cut_reaches_its_caller_once(wire: Wire) -> None:
    wire.model.tasks["t1"] = Task(task_id="t1", state=TASK_STATE_AVAILABLE)
    request_id = wire.ask(claims("t1"))
    wire.move()
    wire.move()
    wire.cut()
    wire.settle()  # the task is returned to the session, and the claim asked again
    assert wire.answers[request_id].claim.task.attempt == 1
    assert wire.received == []
    assert ("t1", 1) in wire.model.acked


def test_claim_that_nobody_waits_for_is_given_back(wire: Wire) -> None:
    wire.model.tasks["t1"] = Task(task_id="t1", state=TASK_STATE_AVAILABLE)
    request_id = wire.ask(claims("t1"))
    wire.protocol.abandon(request_id)
    wire.settle()
    assert wire.model.tasks["t1"].state == TASK_STATE_AVAILABLE
    assert request_id not in wire.answers
    assert wire.protocol.unanswered == 0


def test_c5_offers_are_claimed_as_slots_become_free() -> None:
    wire = Wire(SessionProtocol(settings(slots=2)))
    wire.settle()
    for number in range(4):
        wire.model.offer(f"t{number}")
    wire.settle()
    assert wire.received == [("t0", 1), ("t1", 1)]
    wire.ask(completes("t0"))
    wire.settle()
    assert wire.received[2:] == [("t2", 1)]


def test_c5_offer_that_is_not_wanted_is_declined() -> None:
    wire = Wire(SessionProtocol(settings(slots=2, wanted=lambda task: task.task_id == "good")))
    wire.settle()
    wire.model.offer("bad")
    wire.model.offer("good")
    wire.settle()
    assert wire.received == [("good", 1)]
    assert wire.model.offers == set()


def test_offer_that_was_lost_is_forgotten(wire: Wire) -> None:
    wire.model.offer("t1")
    wire.model.tasks["t1"].state = TASK_STATE_COMPLETED
    wire.settle()
    wire.model.offer("t2")
    wire.settle()
    assert wire.received == [("t2", 1)]


def test_no_credit_pauses_delivery_until_tasks_are_consumed() -> None:
    wire = Wire(SessionProtocol(settings(window=2)))
    wire.settle()
    for number in range(5):
        wire.model.assign(f"t{number}")
    wire.settle()
    assert [task_id for task_id, _ in wire.received] == ["t0", "t1"]
    wire.consume()
    wire.settle()
    assert [task_id for task_id, _ in wire.received] == ["t0", "t1", "t2"]
    wire.cut()
    wire.settle()
    assert wire.model.opened[1].credit == 0, "what waits here counts on the next stream too"
    wire.consume()
    wire.consume()
    wire.settle()
    assert len(wire.received) == len(set(wire.received))


def test_credit_is_not_lost_over_any_number_of_cuts() -> None:
    wire = Wire(SessionProtocol(settings(window=3)))
    wire.settle()
    for number in range(20):
        wire.model.offer(f"t{number}")
        wire.settle()
        while wire.held:
            task_id, attempt = min(wire.held)
            wire.consume()
            wire.ask(completes(task_id, attempt))
            wire.settle()
        wire.cut()
        wire.settle()
    assert wire.model.opened[-1].credit == 3
    assert len(wire.model.completions) == 20
