"""Whether a NATS server has what it acknowledged on its disk: asked of its monitoring pages."""

import ssl
from typing import Any

import httpx
from pydantic import BaseModel

from infrafabric_server.store.protocol import StoreUnavailable

_TIMEOUT_SECONDS = 5.0


class Durability(BaseModel):
    """What one NATS server says of itself.

    `jetstream` tells whether it keeps streams, `always` whether it syncs each message to its
    disk before it answers; otherwise it does so every `interval` seconds, and what was
    acknowledged since is lost when the machine loses power.
    """

    version: str
    jetstream: bool
    always: bool
    interval: float
    max_payload: int


async def durability(monitor: str) -> Durability:
    """Ask the server whose monitoring pages are at `monitor`, such as `http://127.0.0.1:8222`.

    Raises StoreUnavailable when there are no such pages.
    """
    page = f"{monitor.rstrip('/')}/varz"
    try:
        # As for webhooks: the authorities are those of the system, and no proxy is asked.
        async with httpx.AsyncClient(
            timeout=_TIMEOUT_SECONDS, trust_env=False, verify=ssl.create_default_context()
        ) as client:
            answer = await client.get(page)
        facts: dict[str, Any] = answer.raise_for_status().json()
        config = facts.get("jetstream", {}).get("config", {})
        return Durability(
            version=facts["version"],
            jetstream=bool(config),
            always=config.get("sync_always", False),
            interval=config.get("sync_interval", 0) / 1e9,
            max_payload=facts["max_payload"],
        )
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, AttributeError) as error:
        raise StoreUnavailable(
            f"{page} does not tell of a NATS server ({error}); start it with `http: HOST:PORT`"
        ) from error
