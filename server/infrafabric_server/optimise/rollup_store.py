"""Rollups in the store: too many to be held in memory, so they are read when asked for."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from infrafabric_server.optimise.models import Cost, Rollup, Row
from infrafabric_server.optimise.rollups import HOURS_KEPT, due, hour_of, row_of, span
from infrafabric_server.store.protocol import (
    Compare,
    Delete,
    KeyValue,
    Put,
    Store,
    StoreRefused,
    unchanged,
)
from infrafabric_server.store.view import View

PREFIX = "rollups/"
# A full hour is about 100 kB.
_PAGE = 16
_COSTS = 1_000


@dataclass(frozen=True, slots=True)
class Stored:
    """A rollup and the revision that last changed it, 0 for one that does not exist."""

    name: str
    rollup: Rollup
    revision: int

    def same(self) -> Compare:
        """Return the condition that it is as it was read."""
        return unchanged(PREFIX + self.name, self.revision)

    def put(self, rollup: Rollup) -> Put:
        """Return the operation that changes it."""
        return Put(PREFIX + self.name, rollup.model_dump_json(exclude_defaults=True))

    def delete(self) -> Delete:
        """Return the operation that removes it."""
        return Delete(PREFIX + self.name)


class Rollups:
    """Reads rollups, and the costs that are in none yet."""

    def __init__(self, store: Store, costs: View[Cost]) -> None:
        self._store = store
        # Only to read what is stored: a view may be behind the rollups.
        self._costs = costs

    async def get(self, name: str) -> Stored:
        """Return one rollup. Raises the store's errors."""
        kv = await self._store.get(PREFIX + name)
        return Stored(name, Rollup(), 0) if kv is None else _stored(kv)

    async def due(self, now: datetime) -> Mapping[str, list[str]]:
        """Return which hours are to be added to which day, and which days, with none, are to go."""
        last = PREFIX + hour_of(now - HOURS_KEPT)
        names: list[str] = []
        async for kv in self._walk("", 0):
            if kv.key >= last:
                break
            names.append(kv.key.removeprefix(PREFIX))
        return due(names, now)

    async def between(
        self, after: datetime | None, before: datetime | None
    ) -> AsyncIterator[tuple[datetime, Sequence[Row]]]:
        """Yield what was spent in the hours and days that reach into a stretch of time.

        Costs that are in no rollup yet are among it. All is as it was at one moment.

        Args:
            after: the beginning of the stretch; None for that of the fabric.
            before: its end; None for now.

        Yields:
            The beginning of an hour or a day, and rows of it; an hour may come several times.

        Raises:
            StoreError: the store's errors; Compacted when whoever reads is very slow.
        """
        page = await self._store.range(self._costs.prefix, limit=_COSTS)
        revision = page.revision
        start = "" if after is None else f"{PREFIX}{after.astimezone(UTC).date().isoformat()}"
        # Without its last digit it sorts before the day, which may be a rollup of its own.
        async for kv in self._walk(start[:-1], revision):
            stored = _stored(kv)
            if _reaches(stored.name, after, before):
                yield span(stored.name)[0], stored.rollup.rows
        while True:
            for kv in page.kvs:
                cost = self._costs.decode(kv)
                name = hour_of(cost.time)
                if _reaches(name, after, before):
                    yield span(name)[0], [row_of(cost)]
            if not page.more:
                return
            page = await self._store.range(
                self._costs.prefix, limit=_COSTS, after=page.kvs[-1].key, revision=revision
            )

    async def _walk(self, after: str, revision: int) -> AsyncIterator[KeyValue]:
        more = True
        while more:
            page = await self._store.range(PREFIX, limit=_PAGE, after=after, revision=revision)
            revision = page.revision
            for kv in page.kvs:
                yield kv
                after = kv.key
            more = page.more


def _reaches(name: str, after: datetime | None, before: datetime | None) -> bool:
    begin, end = span(name)
    return (after is None or end > after) and (before is None or begin < before)


def _stored(kv: KeyValue) -> Stored:
    try:
        rollup = Rollup.model_validate_json(kv.value)
    except ValidationError as error:
        raise StoreRefused(
            f"the value of {kv.key} is no valid rollup: {error};"
            " was it written by a newer version, or by hand?"
        ) from error
    return Stored(kv.key.removeprefix(PREFIX), rollup, kv.mod_revision)
