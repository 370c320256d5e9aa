from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.etcd import Etcd


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    with Etcd(tmp_path) as etcd:
        yield etcd
