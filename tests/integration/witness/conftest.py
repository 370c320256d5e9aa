from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.nats import Nats


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Nats]:
    with Nats(tmp_path) as nats:
        yield nats
