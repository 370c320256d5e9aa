"""What every test takes for granted."""

import signal


def pytest_configure() -> None:
    """Have Ctrl-C end what the tests start, as at a terminal.

    A shell that starts a run in the background makes it ignore SIGINT, and every process
    inherits that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
