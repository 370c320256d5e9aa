"""Modules that come in pieces: nobody keeps the place of others for long."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from infrafabric.v1.chassis_module_pb2 import UploadModuleRequest
from infrafabric_server.chassis.service.modules import received
from infrafabric_server.errors import InvalidField


def _any_size(_size: int) -> None:
    """Take it."""


async def _for_ever(chunk: bytes) -> AsyncIterator[UploadModuleRequest]:
    while True:
        await asyncio.sleep(0)
        yield UploadModuleRequest(chunk=chunk)


@pytest.mark.parametrize("chunk", [b"", b"x"])
async def test_x1_a_caller_that_trickles_gives_its_place_to_others(chunk: bytes) -> None:
    with pytest.raises(InvalidField, match=r"all must be there within 0\.05"):
        await received(_for_ever(chunk), _any_size, whole_seconds=0.05)


async def test_x1_pieces_are_put_together() -> None:
    async def pieces() -> AsyncIterator[UploadModuleRequest]:
        for each in (b"ab", b"", b"c"):
            yield UploadModuleRequest(chunk=each)

    assert await received(pieces(), _any_size) == b"abc"
