"""An etcd that loses members, runs out of space, and forgets its history."""

import asyncio
import json
import os
import random
from dataclasses import dataclass, field

from tests.harness.etcd import Etcd, Member, program
from tests.robustness.faults.fault import Fault

# What the cluster of a run may hold: a minute of traffic many times over, and soon full.
QUOTA = 64 * 1024 * 1024
_FILLER = "filler/"
_PIECE = 1024 * 1024
# Between two compactions of one fault.
_PAUSE = 0.3
_DOMAIN = "etcd"


async def control(etcd: Etcd, *arguments: str, value: bytes = b"") -> tuple[bool, bytes]:
    """Run `etcdctl`; return whether it succeeded, and what it printed.

    Args:
        etcd: the cluster; any member that answers serves.
        arguments: of `etcdctl`.
        value: its standard input.
    """
    endpoints = ",".join(member.endpoint for member in etcd.members)
    process = await asyncio.create_subprocess_exec(
        *(program("etcdctl"), f"--endpoints={endpoints}", "--command-timeout=20s", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "ETCDCTL_API": "3"},
    )
    printed, _ = await process.communicate(value)
    return process.returncode == 0, printed


async def revision(etcd: Etcd) -> int:
    """Return the cluster's revision."""
    done, printed = await control(etcd, "get", "nothing", "--write-out=json")
    return int(json.loads(printed)["header"]["revision"]) if done else 0


def _leads(member: Member) -> bool:
    try:
        return member.leads()
    except OSError:
        return False


@dataclass(slots=True)
class MemberDown:
    """Kills or freezes one member, the leader or another one; see `Fault`."""

    etcd: Etcd
    leader: bool
    frozen: bool
    seconds: tuple[float, float]
    domain: str = _DOMAIN
    _chosen: Member | None = field(default=None, init=False)

    async def inject(self, chance: random.Random) -> str:
        """Do it."""
        leaders = [
            member for member in self.etcd.members if await asyncio.to_thread(_leads, member)
        ]
        self._chosen = chance.choice((self.leader and leaders) or self.etcd.members)
        (Member.pause if self.frozen else Member.kill)(self._chosen)
        return self._chosen.name

    async def heal(self) -> None:
        """Let the member come back, and wait until it serves."""
        if self._chosen is None:
            return
        (Member.resume if self.frozen else Member.start)(self._chosen)
        await asyncio.to_thread(self._chosen.wait)


@dataclass(frozen=True, slots=True)
class QuotaReached:
    """Fills etcd until it takes no more, and makes room as an operator does; see `Fault`."""

    etcd: Etcd
    seconds: tuple[float, float] = (1.0, 4.0)
    domain: str = _DOMAIN

    async def inject(self, _chance: random.Random) -> str:
        """Fill it."""
        piece = b"x" * _PIECE
        for number in range(2 * QUOTA // _PIECE):
            done, _ = await control(self.etcd, "put", f"{_FILLER}{number}", value=piece)
            if not done:
                return f"full after {number} MiB"
        return "not full: it takes more than its quota"

    async def heal(self) -> None:
        """Delete, compact, give the room back to the disk, and end the alarm."""
        await control(self.etcd, "del", "--prefix", _FILLER)
        await control(self.etcd, "compact", "--physical", str(await revision(self.etcd)))
        await control(self.etcd, "defrag")
        await control(self.etcd, "alarm", "disarm")


@dataclass(slots=True)
class Compaction:
    """Forgets all history again and again while the fleet is at work; see `Fault`."""

    etcd: Etcd
    seconds: tuple[float, float] = (1.0, 4.0)
    domain: str = _DOMAIN
    _compacting: asyncio.Task[None] | None = field(default=None, init=False)

    async def inject(self, _: random.Random) -> str:
        """Begin."""
        self._compacting = asyncio.create_task(self._compact())
        return f"from revision {await revision(self.etcd)} on"

    async def heal(self) -> None:
        """End."""
        if self._compacting is not None:
            self._compacting.cancel()
            await asyncio.wait((self._compacting,))

    async def _compact(self) -> None:
        while True:
            await control(self.etcd, "compact", str(await revision(self.etcd)))
            await asyncio.sleep(_PAUSE)


def etcd_faults(etcd: Etcd) -> dict[str, Fault]:
    """Return the faults of a cluster."""
    found: dict[str, Fault] = {
        "etcd-kill": MemberDown(etcd, leader=False, frozen=False, seconds=(0.0, 3.0)),
        "etcd-pause": MemberDown(etcd, leader=False, frozen=True, seconds=(0.5, 5.0)),
        "etcd-quota": QuotaReached(etcd),
        "etcd-compact": Compaction(etcd),
    }
    if len(etcd.members) > 1:
        found["etcd-leader-kill"] = MemberDown(etcd, leader=True, frozen=False, seconds=(0.0, 3.0))
        found["etcd-leader-pause"] = MemberDown(etcd, leader=True, frozen=True, seconds=(0.5, 5.0))
    return found
