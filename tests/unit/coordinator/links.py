"""What tests do with the streams of sessions."""

from infrafabric_server.coordinator.frames import Delivery, Frame, TaskFrame
from infrafabric_server.coordinator.link import SessionLink
from tests.harness.fabric import Fabric


async def said(link: SessionLink) -> list[Frame]:
    """Return what waits to be sent to a session."""
    if not link.live and not link.waiting:
        return []
    frames = []
    while link.waiting:
        batch, _ = await link.take(64)
        frames.extend(batch)
    return frames


def pushed(frames: list[Frame]) -> list[tuple[str, Delivery]]:
    """Return the tasks among frames, with why they came."""
    return [(f.task.task_id, f.delivery) for f in frames if isinstance(f, TaskFrame)]


async def complete(fabric: Fabric, link: SessionLink, task_id: str) -> None:
    """Complete a task that a session holds."""
    attempt = fabric.task(task_id).attempt
    await fabric.coordinator.claims.complete(
        link.swarm_id, task_id, attempt, result_json="{}", cost_micros=0, epoch=link.epoch
    )
    await fabric.settled()
