"""What every test takes for granted, and where it runs."""

import signal

import pytest


def pytest_configure() -> None:
    """Have Ctrl-C end what the tests start, as at a terminal.

    A shell that starts a run in the background makes it ignore SIGINT, and every process
    inherits that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Run tests that were named in this process; a worker for each core is for the whole suite.

    Each worker imports every test before it begins.
    """
    return None if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0
