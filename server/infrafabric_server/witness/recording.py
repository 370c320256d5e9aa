"""How the parts that keep the log are put together, alone and among replicas."""

from dataclasses import dataclass
from functools import partial
from typing import Self

from infrafabric_server.bus.protocol import Bus
from infrafabric_server.fleet.leadership import Leadership
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import Store
from infrafabric_server.witness.appender import LocalAppender
from infrafabric_server.witness.log import WitnessLog
from infrafabric_server.witness.log_copy import CopyFile, LogCopy
from infrafabric_server.witness.sealer import Sealer
from infrafabric_server.witness.stream import LogStream
from infrafabric_server.witness.stream_appender import StreamAppender
from infrafabric_server.witness.tail import Tail

# Seconds that a query waits for what was just decided to be sealed. Among replicas a leader that
# died is followed after five, and another two pass until a lost answer of NATS is looked up.
_PATIENCE_ALONE = 5.0
_PATIENCE_AMONG = 12.0


@dataclass(frozen=True, slots=True)
class Recording:
    """What writes the log, and what is read: `log`, and its end in memory.

    `copy` follows a log that is elsewhere into `log`; None where `log` itself is sealed into.
    `patience` is how many seconds a reader should wait for what was just decided.
    """

    log: WitnessLog
    tail: Tail
    sealer: Sealer
    copy: LogCopy | None = None
    patience: float = _PATIENCE_ALONE

    def check(self) -> None:
        """Raise StoreUnavailable, saying why, when the log cannot be shown here any more."""
        if self.copy is not None:
            self.copy.check()

    @classmethod
    async def alone(
        cls, store: Store, mirror: Mirror, log: WitnessLog, leadership: Leadership
    ) -> Self:
        """Return what seals into `log`, which no other process writes. Raises StoreError."""
        tail = await Tail.open(log)
        return cls(log, tail, Sealer(store, mirror, LocalAppender(log, tail), leadership))

    @classmethod
    async def among(
        cls,
        store: Store,
        mirror: Mirror,
        file: CopyFile,
        stream: LogStream,
        leadership: Leadership,
        bus: Bus,
        subject: str,
    ) -> Self:
        """Return what seals into `stream` where it leads, and everywhere copies it to `file`.

        Who waits for the leader to seal tells so on a subject below `subject`. Raises
        StoreError when the file cannot be read.
        """
        tail = await Tail.open(file)
        copy = await LogCopy.open(file, stream, tail)
        ask = partial(bus.publish, f"{subject}.seal", b"")
        sealer = Sealer(store, mirror, StreamAppender(stream, copy), leadership, ask=ask)
        sealer.follow(copy.expect)
        bus.subscribe(f"{subject}.seal", lambda _: sealer.hurry())
        return cls(file, tail, sealer, copy, _PATIENCE_AMONG)
