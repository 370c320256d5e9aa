"""Where causes come from: things that last, as views show them."""

from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from pydantic import BaseModel

from infrafabric_server.governor.escalation.models import Cause
from infrafabric_server.store.view import Change, View

ModelT = TypeVar("ModelT", bound=BaseModel)


class Source(Protocol):
    """The causes whose escalations have ids that begin with `prefix`."""

    @property
    def prefix(self) -> str:
        """What the ids begin with; of several prefixes that fit an id, the longest counts."""
        ...

    def ids(self) -> Iterable[str]:
        """Return the ids of all causes that last now."""
        ...

    def cause(self, escalation_id: str) -> Cause | None:
        """Return what causes an escalation now; None when it is over."""
        ...

    def follow(self, changed: Callable[[str], None]) -> None:
        """Call `changed` with the id of each cause that begins, changes or ends."""
        ...


class ViewSource(Generic[ModelT]):
    """The causes that the entries of a view are."""

    def __init__(
        self, prefix: str, view: View[ModelT], describe: Callable[[ModelT], Cause | None]
    ) -> None:
        """Take the view, and what tells of an entry what it causes, if anything.

        Args:
            prefix: what the ids of the escalations have before the ids of the view.
            view: the entries.
            describe: pure; returns a cause with the id `prefix + id`.
        """
        self.prefix = prefix
        self._view = view
        self._describe = describe

    def ids(self) -> Iterable[str]:
        """See Source."""
        for id_, model in self._view.items():
            if self._describe(model) is not None:
                yield self.prefix + id_

    def cause(self, escalation_id: str) -> Cause | None:
        """See Source."""
        model = self._view.get(escalation_id.removeprefix(self.prefix))
        return None if model is None else self._describe(model)

    def follow(self, changed: Callable[[str], None]) -> None:
        """See Source."""

        def listen(change: Change[ModelT]) -> None:
            before, after = self._described(change.old), self._described(change.new)
            if before != after:
                changed(self.prefix + change.id)

        self._view.subscribe(listen)

    def _described(self, model: ModelT | None) -> Cause | None:
        return None if model is None else self._describe(model)
