"""Sends what webhooks are to be told: at least once, in the pace of each, disturbing nobody."""

import asyncio
import contextlib
import random as randomness
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import httpx
import structlog

from infrafabric_server.errors import FabricError
from infrafabric_server.fleet.leadership import Leadership
from infrafabric_server.fleet.rounds import RETRY_SECONDS
from infrafabric_server.governor.escalation import rules
from infrafabric_server.governor.escalation.agenda import Agenda
from infrafabric_server.governor.escalation.models import Delivery
from infrafabric_server.governor.escalation.records import EscalationRecords
from infrafabric_server.governor.escalation.webhook import Webhook
from infrafabric_server.store.mirror import Change, Entry
from infrafabric_server.store.protocol import StoreClosed, StoreError, unchanged

# What waits longer than this is given up: of a webhook that no leader knows, above all.
_KEPT = timedelta(days=1)
_SWEEP_SECONDS = 600.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Retrying:
    """How often and how long a webhook is tried.

    The pause after the n-th try in vain is `first` * 2^(n-1) seconds, at most `most`, of which
    half is chance. The ten tries of the defaults take 8 to 17 minutes. `limit` is how many seconds
    a try may take altogether.
    """

    tries: int = 10
    first: float = 2.0
    most: float = 600.0
    limit: float = 10.0

    def pause(self, tries: int, chance: float) -> timedelta:
        """Return the pause after so many tries; `chance` is a number in [0, 1)."""
        whole = min(self.most, self.first * 2 ** min(tries - 1, 32))
        return timedelta(seconds=whole * (1 + chance) / 2)


class Sender:
    """Tells each webhook what waits for it, in order; what fails waits while others go on."""

    def __init__(
        self,
        records: EscalationRecords,
        hooks: Sequence[Webhook],
        leadership: Leadership,
        *,
        retrying: Retrying | None = None,
        random: Callable[[], float] = randomness.random,
        transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """Follow what waits; the views have not started.

        Args:
            records: have the deliveries.
            hooks: those that are told.
            leadership: of the replica, which sends only while it leads.
            retrying: how often to try; None for the defaults.
            random: returns a number in [0, 1).
            transport: opens what requests are sent by; None for one over TCP and TLS.
            retry_seconds: wait before what the store refused is tried again.
        """
        self._records = records
        self._leadership = leadership
        self._retry_seconds = retry_seconds
        self._retrying = retrying or Retrying()
        self._random = random
        self._transport = transport
        self._queues = {hook.name: _Queue(hook) for hook in hooks}
        records.deliveries.subscribe(self._changed)

    async def run(self) -> None:
        """Send until cancelled: owned by `while_leading`."""
        for queue in self._queues.values():
            queue.agenda = Agenda()
        for id_, delivery in self._records.deliveries.items():
            self._enter(id_, delivery)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep())
            if self._queues:
                opens = self._transport or partial(_over_tcp, ssl.create_default_context())
                for queue in self._queues.values():
                    group.create_task(self._serve(queue, opens))

    def _changed(self, change: Change[Delivery]) -> None:
        delivery = change.new or change.old
        if delivery is not None:
            self._enter(change.id, delivery, gone=change.new is None)

    def _enter(self, delivery_id: str, delivery: Delivery, *, gone: bool = False) -> None:
        queue = self._queues.get(delivery.hook)
        if queue is not None:
            queue.agenda.set(delivery_id, None if gone else delivery.due_time)
            queue.woken.set()

    async def _serve(self, queue: "_Queue", opens: Callable[[], httpx.AsyncBaseTransport]) -> None:
        async with opens() as transport:
            while True:
                queue.woken.clear()
                now = self._records.clock.now()
                delivery_id = queue.agenda.take(now)
                if delivery_id is None:
                    first = queue.agenda.first()
                    wait = None if first is None else max(0.0, (first[0] - now).total_seconds())
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(wait):
                            await queue.woken.wait()
                    continue
                entry = self._records.deliveries.entry(delivery_id)
                if entry is not None:
                    failure = await self._try(transport, queue.hook, entry.value)
                    await self._settled(queue, entry, failure)

    async def _try(
        self, transport: httpx.AsyncBaseTransport, hook: Webhook, delivery: Delivery
    ) -> str:
        """Return why a try failed; empty when the webhook took it.

        The transport follows no redirect and keeps no cookie. Of the answer only the status is
        read: whatever it is, its body stays where it is.
        """
        body = hook.body(delivery)
        now = int(self._records.clock.now().timestamp())
        headers = hook.headers(delivery, body, now)
        request = httpx.Request("POST", hook.url, content=body, headers=headers)
        try:
            async with asyncio.timeout(self._retrying.limit):
                response = await transport.handle_async_request(request)
                await response.aclose()
        except TimeoutError:
            return f"no answer within {self._retrying.limit:g} s"
        except (httpx.TransportError, httpx.InvalidURL, OSError, ValueError) as error:
            # Its text may hold the address, which may be a secret.
            return type(error).__name__
        return "" if response.is_success else f"status {response.status_code}"

    async def _settled(self, queue: "_Queue", entry: Entry[Delivery], failure: str) -> None:
        """Note how a try ended; what cannot be noted is tried again."""
        try:
            if not failure:
                await self._forget(entry)
            elif entry.value.tries + 1 >= self._retrying.tries:
                await self._give_up(entry, failure)
            else:
                await self._put_off(entry, failure)
        except StoreClosed:
            raise
        except (FabricError, StoreError) as error:
            _log.warning("webhook_not_noted", delivery_id=entry.id, error=str(error))
            again = self._records.clock.now() + timedelta(seconds=self._retry_seconds)
            queue.agenda.set(entry.id, again)

    async def _put_off(self, entry: Entry[Delivery], failure: str) -> None:
        tries = entry.value.tries + 1
        due = self._records.clock.now() + self._retrying.pause(tries, self._random())
        _log.info("webhook_failed", delivery_id=entry.id, tries=tries, reason=failure)
        later = entry.value.model_copy(update={"tries": tries, "due_time": due})
        put = self._records.deliveries.put(entry.id, later)
        compares = [unchanged(entry.key, entry.mod_revision), *self._leadership.fence()]
        await self._records.mirror.commit(compares, [put])

    async def _forget(self, entry: Entry[Delivery]) -> None:
        compares = [unchanged(entry.key, entry.mod_revision), *self._leadership.fence()]
        delete = self._records.deliveries.delete(entry.id)
        await self._records.mirror.commit(compares, [delete])

    async def _give_up(self, entry: Entry[Delivery], reason: str) -> None:
        """Make a dead letter of what no try will deliver."""
        _log.warning("webhook_given_up", delivery_id=entry.id, reason=reason)
        delivery = entry.value
        while self._records.deliveries.entry(entry.id) == entry:
            known = self._records.escalations.entry(delivery.escalation.escalation_id)
            now = self._records.clock.now()
            step = None
            if known is not None and known.value.since == delivery.escalation.since:
                step = rules.undelivered(known.value, delivery.hook, now)
            if known is None or step is None:
                await self._forget(entry)
                return
            compares = [unchanged(entry.key, entry.mod_revision), *self._leadership.fence()]
            result = await self._records.commit(
                known.id,
                known,
                step,
                compares=compares,
                writes=[self._records.deliveries.delete(entry.id)],
                details={"hook": delivery.hook, "reason": reason},
            )
            if result.succeeded or not self._leadership.leading:
                return

    async def _sweep(self) -> None:
        while True:
            oldest = self._records.clock.now() - _KEPT
            old = [e for e in self._records.deliveries.entries() if e.value.create_time < oldest]
            try:
                for entry in old:
                    await self._give_up(entry, "it waited for too long")
            except StoreClosed:
                raise
            except (FabricError, StoreError) as error:
                _log.warning("webhooks_not_swept", error=str(error))
            await asyncio.sleep(_SWEEP_SECONDS)


class _Queue:
    """What waits for one webhook."""

    def __init__(self, hook: Webhook) -> None:
        self.hook = hook
        self.agenda = Agenda()
        self.woken = asyncio.Event()


def _over_tcp(authorities: ssl.SSLContext) -> httpx.AsyncBaseTransport:
    # The authorities are those of the system; SSL_CERT_FILE names others. A connection is for one
    # request: an answer that is not read to its end leaves none that could be used again.
    return httpx.AsyncHTTPTransport(
        verify=authorities,
        trust_env=False,
        limits=httpx.Limits(max_connections=1, max_keepalive_connections=0),
    )
