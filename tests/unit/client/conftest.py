"""Streams between the protocol and a model of the fabric."""

import pytest

from tests.unit.client.wire import Wire


@pytest.fixture
def wire() -> Wire:
    """A stream that is open."""
    wire = Wire()
    wire.settle()
    return wire
