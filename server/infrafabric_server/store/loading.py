"""Reads all that views show, as it was at one revision."""

from collections.abc import Collection
from typing import Any

from infrafabric_server.store.protocol import Compacted, Store
from infrafabric_server.store.view import AnyView, Entry

# Keys asked for at a time.
_PAGE = 1000

Entries = dict[str, dict[str, Entry[Any]]]
"""Entries by their id, by the prefix of their view."""


async def read_views(store: Store, views: Collection[AnyView]) -> tuple[int, Entries]:
    """Return a revision, and what the views show at it; nothing of a store that is at 0.

    Raises StoreError; StoreRefused if a value is not of its view's model.
    """
    while True:
        try:
            return await _read(store, views)
        except Compacted:
            # The revision of the first page went out of history before the last one came.
            continue


async def _read(store: Store, views: Collection[AnyView]) -> tuple[int, Entries]:
    revision = 0
    found: Entries = {}
    for view in views:
        entries = found[view.prefix] = {}
        after, more = "", True
        while more:
            page = await store.range(view.prefix, limit=_PAGE, after=after, revision=revision)
            revision = page.revision
            if revision == 0:
                return 0, {}
            for kv in page.kvs:
                entry = view.read(kv)
                entries[entry.id] = entry
                after = kv.key
            more = page.more
    return (revision if views else await store.revision()), found
