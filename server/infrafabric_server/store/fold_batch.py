"""Which decisions on an account go together, and what they leave of it: free of I/O."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Generic, TypeVar

from infrafabric_server.store.checks import MAX_MEMBERS, Touched
from infrafabric_server.store.protocol import Member, Put, TxnResult

StateT = TypeVar("StateT")

# Characters of values in one fold: a quarter of a megabyte at least, a megabyte at most, of the
# megabyte and a half that etcd takes.
_MAX_VALUES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Decision(Generic[StateT]):
    """What a caller wants written.

    `state` is what becomes of the account before it is known how `member` ends, so it must
    reserve enough for either way: a reservation is in it, and what is given back still is.
    `settle` returns from an account, as it is by then, what it is when the member has ended
    like that. It may be applied more than once, and to an account that never had the
    decision's state. So it names what it takes away by something that is never used again,
    such as a random id, and leaves an account alone that has no such thing.
    """

    state: StateT
    member: Member
    settle: Callable[[StateT, TxnResult], StateT] | None = None


Decide = Callable[[StateT], Decision[StateT]]
Correction = Callable[[StateT], StateT]


@dataclass(frozen=True, slots=True, eq=False)
class Waiting(Generic[StateT]):
    """A caller who waits; `number` counts those who came to the account."""

    decide: Decide[StateT]
    future: asyncio.Future[TxnResult]
    number: int


@dataclass(slots=True)
class Batch(Generic[StateT]):
    """What is to be written: the account's new state, and the members of the decisions.

    `refused` are those whose refusal is final; `undecided` tells that others were refused as
    well, on a state that may be out of date or have too much reserved.
    """

    state: StateT
    chosen: list[tuple[Waiting[StateT], Decision[StateT]]] = field(default_factory=list)
    refused: list[tuple[Waiting[StateT], Exception]] = field(default_factory=list)
    undecided: bool = False


def compose(
    state: StateT,
    waiting: Iterable[Waiting[StateT]],
    corrections: Iterable[Correction[StateT]],
    certain: int,
    limit: int = MAX_MEMBERS,
) -> Batch[StateT]:
    """Return the next batch.

    Args:
        state: of the account.
        waiting: callers in their order; those who went away are passed over.
        corrections: of what earlier batches wrote.
        certain: the number of the last caller who came before `state` was read.
        limit: of decisions that go together.
    """
    for correction in corrections:
        state = correction(state)
    batch = Batch(state)
    touched = Touched()
    values = 0
    for each in waiting:
        if each.future.done():
            continue
        if len(batch.chosen) >= limit:
            break
        try:
            decision = each.decide(batch.state)
        except Exception as refusal:  # noqa: BLE001  # whatever it is, it is for that caller alone
            # Members before it may fail, which gives back what was missing for this one.
            if batch.chosen or each.number > certain:
                batch.undecided = True
            else:
                batch.refused.append((each, refusal))
            continue
        values += _size(decision.member)
        if batch.chosen and values > _MAX_VALUES:
            break
        member = decision.member
        if touched.add(member.compares, member.success, member.failure) is not None:
            break
        batch.chosen.append((each, decision))
        batch.state = decision.state
    return batch


def _size(member: Member) -> int:
    size = 0
    for op in chain(member.success, member.failure):
        if isinstance(op, Put):
            size += len(op.value)
    return size
