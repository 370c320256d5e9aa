"""A mirror with one view, over a store whose watches are held back."""

from collections.abc import AsyncIterator

import pytest

from infrafabric_server.store.mirror import Mirror, View
from tests.unit.store.kit import HeldStore, Item


@pytest.fixture
async def store() -> AsyncIterator[HeldStore]:
    store = await HeldStore.open()
    yield store
    await store.close()


@pytest.fixture
def mirror(store: HeldStore) -> Mirror:
    return Mirror(store)


@pytest.fixture
def items(mirror: Mirror) -> View[Item]:
    return mirror.view("items/", Item)
