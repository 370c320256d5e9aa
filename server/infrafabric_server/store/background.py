"""Background work of an embedded store, owned by the store."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from infrafabric_server.store.protocol import StoreClosed, StoreUnavailable


class Background:
    """Runs endless jobs until it is stopped, and tells when one of them broke."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._logger = structlog.get_logger(__name__)

    def start(self, name: str, job: Callable[[], Awaitable[None]]) -> None:
        """Run `job` until `stop`; a StoreClosed ends it quietly."""
        self._tasks.append(asyncio.create_task(self._run(name, job), name=name))

    def check(self) -> None:
        """Raise StoreUnavailable if a job broke."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                raise StoreUnavailable(
                    f"{task.get_name()} broke: {task.exception()}; restart the server"
                )

    async def stop(self) -> None:
        """Cancel every job and wait for its end."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _run(self, name: str, job: Callable[[], Awaitable[None]]) -> None:
        try:
            with contextlib.suppress(StoreClosed):
                await job()
        except Exception:
            self._logger.exception("store_job_broke", job=name)
            raise
