"""Typed views: what lies under a prefix, as models in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from infrafabric_server.store.protocol import Delete, KeyValue, Put, StoreRefused
from infrafabric_server.store.sorted_keys import SortedKeys

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Entry(Generic[ModelT]):
    """One key of a view: `id` is the key without the view's prefix."""

    key: str
    id: str
    value: ModelT
    mod_revision: int
    create_revision: int


@dataclass(frozen=True, slots=True)
class Change(Generic[ModelT]):
    """What happened to one key of a view at `revision`; None: it is not there."""

    id: str
    old: ModelT | None
    new: ModelT | None
    revision: int


@dataclass(slots=True, unsafe_hash=True)
class ViewPut(Put, Generic[ModelT]):
    """A Put that remembers the model, which is not decoded again when it shows in the view."""

    model: ModelT = field(kw_only=True, compare=False)


Write = Put | Delete
Listener = Callable[[Change[ModelT]], None]
Counter = Callable[[ModelT | None, ModelT | None], None]


class View(Generic[ModelT]):
    """The models under one prefix, kept up to date by a Mirror.

    Ask it in the loop, without an `await` between the question and the use of its answer,
    or compare revisions when it is used.
    """

    def __init__(self, prefix: str, model: type[ModelT]) -> None:
        self.prefix = prefix
        self.model = model
        self._entries: dict[str, Entry[ModelT]] = {}
        self._order = SortedKeys()
        self._listeners: list[Listener[ModelT]] = []
        self._counters: list[Counter[ModelT]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._entries

    def __iter__(self) -> Iterator[str]:
        """Yield the ids in order."""
        return self._order.since("")

    def get(self, id_: str) -> ModelT | None:
        """Return the model of an id, or None."""
        entry = self._entries.get(id_)
        return entry.value if entry is not None else None

    def entry(self, id_: str) -> Entry[ModelT] | None:
        """Return the model of an id with its revisions, or None."""
        return self._entries.get(id_)

    def entries(self) -> Iterator[Entry[ModelT]]:
        """Yield everything, in no order; nothing may change meanwhile."""
        return iter(self._entries.values())

    def items(self) -> Iterator[tuple[str, ModelT]]:
        """Yield every id with its model, in no order; nothing may change meanwhile."""
        return ((entry.id, entry.value) for entry in self._entries.values())

    def page(self, after: str, limit: int) -> list[Entry[ModelT]]:
        """Return at most `limit` entries whose ids sort after `after`, in order."""
        return [self._entries[id_] for id_ in islice(self._order.after(after), limit)]

    def key(self, id_: str) -> str:
        """Return the store's key for an id."""
        return self.prefix + id_

    def put(self, id_: str, model: ModelT, lease: int = 0) -> ViewPut[ModelT]:
        """Return the operation that sets an id to `model`, bound to `lease` (0: to none)."""
        return ViewPut(
            self.key(id_), model.model_dump_json(exclude_defaults=True), lease, model=model
        )

    def delete(self, id_: str) -> Delete:
        """Return the operation that removes an id."""
        return Delete(self.key(id_))

    def subscribe(self, listener: Listener[ModelT]) -> Callable[[], None]:
        """Call `listener` with every change from now on; return what ends that.

        It is called in the loop, must not wait, and must not raise: an error ends the
        mirror's `run`. All changes of a revision show in all views before it is called.
        """
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def count(self, counter: Counter[ModelT]) -> None:
        """Call `counter` with what an id was and is, as the view changes; None: it is not there.

        For sums that whoever hears of a revision may ask for: they have all of its changes by
        then. Others of its changes may still be missing when `counter` is called; it must not
        call anybody, or raise.
        """
        self._counters.append(counter)

    def read(self, kv: KeyValue, model: BaseModel | None = None) -> Entry[ModelT]:
        """Return the entry for a key of this view; `model` is its value, if it is known.

        Raises StoreRefused for a value that is none of the model.
        """
        known = model if isinstance(model, self.model) else self.decode(kv)
        id_ = kv.key.removeprefix(self.prefix)
        return Entry(kv.key, id_, known, kv.mod_revision, kv.create_revision)

    def replace(
        self, id_: str, entry: Entry[ModelT] | None, revision: int
    ) -> Change[ModelT] | None:
        """Set what is known of an id, for the Mirror; None if it was and stays absent."""
        old = self._entries.pop(id_, None)
        if entry is not None:
            self._entries[id_] = entry
            if old is None:
                self._order.add(id_)
        elif old is not None:
            self._order.remove(id_)
        else:
            return None
        before, after = old.value if old else None, entry.value if entry else None
        for counter in self._counters:
            counter(before, after)
        return Change(id_, before, after, revision)

    def tell(self, change: Change[ModelT]) -> None:
        """Call the listeners, for the Mirror."""
        for listener in tuple(self._listeners):
            listener(change)

    def decode(self, kv: KeyValue) -> ModelT:
        """Return the model of a stored value, under whatever key it is kept.

        Raises:
            StoreRefused: it is none: what is stored is damaged, and no caller is to blame.
        """
        try:
            return self.model.model_validate_json(kv.value)
        except ValidationError as error:
            raise StoreRefused(
                f"the value of {kv.key} is no valid {self.model.__name__}: {error}; "
                "was it written by a newer version, or by hand?"
            ) from error


# The Mirror keeps views of every model side by side.
AnyView = View[Any]


def prefix_of(key: str) -> str:
    """Return the prefix of the view that `key` would belong to: up to its first slash."""
    return key[: key.find("/") + 1]
