"""How many task frames the server may still send."""


class Credit:
    """Counts task frames, so that a consumer that is slow pauses the server.

    A frame counts from its arrival until it is consumed; the server is allowed what is left
    of the window.

    Args:
        window: most frames that wait here at any time, at least 1.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._waiting = 0
        self._owed = 0

    def opened(self) -> int:
        """Return what a new stream allows the server to send."""
        self._owed = 0
        return max(0, self._window - self._waiting)

    def received(self) -> None:
        """Count one task frame."""
        self._waiting += 1

    def consumed(self, count: int = 1) -> None:
        """Free the place of `count` frames; the server will be told."""
        self._waiting -= count
        self._owed += count

    def take_grant(self) -> int:
        """Return the credit that the server was not told of yet, and count it as told."""
        owed, self._owed = self._owed, 0
        return owed
