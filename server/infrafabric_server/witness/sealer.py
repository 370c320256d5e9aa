"""Moves decisions from the outbox into the log, in the order in which they were decided."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import NoReturn

import structlog
from structlog.typing import FilteringBoundLogger

from infrafabric_server.store.protocol import (
    Compacted,
    Delete,
    KeyValue,
    Store,
    StoreFull,
    StoreUnavailable,
    WatchBatch,
)
from infrafabric_server.store.recent import Recent
from infrafabric_server.witness.log import WitnessLog
from infrafabric_server.witness.models import Entry
from infrafabric_server.witness.outbox import PREFIX

# Entries in one append and in one deletion; a store takes 4,096 operations at once.
_BATCH = 1000
# Time in which entries gather before they are sealed: nobody waits for them, and each seal
# costs the disk two syncs that a decision may have to wait behind.
_GATHER_SECONDS = 0.02
_FIRST_RETRY_SECONDS = 0.1
_LAST_RETRY_SECONDS = 5.0
