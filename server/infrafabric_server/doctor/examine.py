"""Checks all that the settings of a server name."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

from infrafabric_server.bus.address import BusRefusedError
from infrafabric_server.clock import Clock
from infrafabric_server.config import Settings
from infrafabric_server.doctor import certificates, etcd, folder, nats, policy
from infrafabric_server.doctor.findings import Finding, Subject
from infrafabric_server.store.protocol import StoreRefused

_FILES = ("etcd_ca", "etcd_cert", "nats_ca", "nats_cert")


async def examine(
    settings: Settings, environ: Mapping[str, str], clock: Clock, monitors: Sequence[str] = ()
) -> list[Finding]:
    """Return what was found, in the order: folder, policy, our own certificates, etcd, NATS.

    Args:
        settings: of the server.
        environ: where passwords may be.
        clock: what other clocks are compared with.
        monitors: URLs of the monitoring pages of NATS servers.
    """
    found = await asyncio.to_thread(folder.examine, settings.data)
    if settings.policy is not None:
        found += await asyncio.to_thread(policy.examine, settings.policy)
    if not settings.shared:
        return [*found, await asyncio.to_thread(folder.fabric, settings.data)]
    for name in _FILES:
        file: Path | None = getattr(settings, name)
        if file is not None:
            found += certificates.of_file(Subject("settings"), name, file, clock.now())
    found += await _etcd(settings, environ, clock)
    found += await _nats(settings, environ, clock, monitors)
    return found


async def _etcd(settings: Settings, environ: Mapping[str, str], clock: Clock) -> list[Finding]:
    address = settings.etcd_address()
    try:
        access = settings.etcd_access(environ)
        context = _context(settings) if address.tls else None
    except (StoreRefused, OSError) as error:
        return [Subject("etcd").problem("access", str(error), "correct the file or the setting")]
    digest = await asyncio.to_thread(policy.digest, settings.policy)
    return await etcd.examine(etcd.Look(address, access, context, clock, digest))


async def _nats(
    settings: Settings, environ: Mapping[str, str], clock: Clock, monitors: Sequence[str]
) -> list[Finding]:
    try:
        access = settings.nats_access(environ)
    except BusRefusedError as error:
        return [Subject("nats").problem("access", str(error), "correct the file or the setting")]
    look = nats.Look(
        address=settings.bus,
        access=access,
        stream=f"{settings.subject}-witness",
        replicas=settings.witness_replicas,
        monitors=tuple(monitors),
        clock=clock,
    )
    return await nats.examine(look)


def _context(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.etcd_ca)
    if settings.etcd_cert is not None:
        context.load_cert_chain(settings.etcd_cert, settings.etcd_key)
    return context
