"""What faults are planted with; each returns the name of the check that must find it."""

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from tests.robustness.evidence import Entry, Evidence
from tests.robustness.history import Observation, Operation
from tests.unit.robustness.ideal import sealed

Plant = Callable[[Evidence, random.Random], str]
T = TypeVar("T")


def into(plants: list[Plant]) -> Callable[[Plant], Plant]:
    """Return a decorator that adds a fault to the others."""

    def planted(plant: Plant) -> Plant:
        plants.append(plant)
        return plant

    return planted


def one(found: Iterable[T], chance: random.Random) -> T:
    candidates = list(found)
    assert candidates, "the history has no place for this fault"
    return chance.choice(candidates)


def put_log(evidence: Evidence, log: list[Entry]) -> None:
    """Give all servers this log, as one sound chain, and the tails too."""
    log = sealed(log)
    evidence.logs = {server: list(log) for server in evidence.logs}
    evidence.observations = [seen for seen in evidence.observations if seen.kind != "tail"]


def without(evidence: Evidence, entry: Entry) -> None:
    put_log(evidence, [each for each in evidence.log if each is not entry])


def after(evidence: Evidence, entry: Entry, *more: Entry) -> None:
    place = evidence.log.index(entry) + 1
    put_log(evidence, [*evidence.log[:place], *more, *evidence.log[place:]])


def entry(evidence: Evidence, chance: random.Random, *operations: str) -> Entry:
    return one(evidence.entries(*operations), chance)


def acknowledged(evidence: Evidence, chance: random.Random, kind: str) -> Operation:
    found = (op for op in evidence.of_kind(kind) if op.acknowledged)
    return one(found, chance)


def entry_of(evidence: Evidence, operation: Operation) -> Entry:
    return next(
        entry for entry in evidence.log if operation.tag in map(str, entry.details.values())
    )


def change_seen(evidence: Evidence, seen: Observation, *instead: Observation) -> None:
    place = evidence.observations.index(seen)
    evidence.observations[place : place + 1] = instead


def changed(evidence: Evidence, found: Entry, **details: object) -> None:
    """Put an entry with other details where it is."""
    other = replace(found, details={**found.details, **details})
    put_log(evidence, [other if each is found else each for each in evidence.log])


def grant(evidence: Evidence, chance: random.Random) -> Entry:
    return entry(evidence, chance, "claim_won", "task_assigned")
