"""Who listens to what at one end of a bus."""

import structlog

from infrafabric_server.bus.protocol import Counts, Listener

_logger = structlog.get_logger(__name__)


class Listeners:
    """Hands messages to those who asked for their subject, and counts them."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._of: dict[str, list[Listener]] = {}

    def add(self, subject: str, listener: Listener) -> None:
        """Take one more listener."""
        self._of.setdefault(subject, []).append(listener)

    @property
    def subjects(self) -> tuple[str, ...]:
        """What somebody listens to, in the order of asking."""
        return tuple(self._of)

    def hand(self, subject: str, payload: bytes) -> None:
        """Call the listeners of `subject`; one that breaks is logged and harms no other."""
        for listener in self._of.get(subject, ()):
            self._counts.received += 1
            try:
                listener(payload)
            except Exception:
                _logger.exception("bus_listener_broke", subject=subject)
