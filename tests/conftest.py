"""What every test takes for granted, and where it runs."""

import os
import signal

import pytest


def pytest_configure() -> None:
    """Have Ctrl-C end what the tests start, as at a terminal.

    A shell that starts a run in the background makes it ignore SIGINT, and every process
    inherits that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run tests that were named in this process; workers are for the whole suite.

    Each worker imports every test before it begins. There is one more than there are cores, since
    tests wait for other processes most of their time.
    """
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return len(os.sched_getaffinity(0)) + 1 if whole else 0
