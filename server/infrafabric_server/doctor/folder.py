"""Checks the data directory."""

import errno
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

from infrafabric_server.doctor import latency
from infrafabric_server.doctor.findings import Finding, Subject
from infrafabric_server.store.data_format import DATA_FORMAT
from infrafabric_server.store.protocol import StoreRefused
from infrafabric_server.store.sqlite import copying

_GIB = 1024**3
_PLENTY = 2 * _GIB
_LITTLE = _GIB // 4
_ROUNDS = 20
_BYTES = 4096
_ADVICE = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room, or raise the quota of the user",
    errno.EIO: "replace the disk",
    errno.EROFS: "mount it for writing, or choose a directory on another disk",
}
# Embedded, each group of decisions waits for one sync, and C2 leaves 50 ms for a claim.
_SYNC = latency.Limits(0.010, 0.040)


def examine(directory: Path) -> list[Finding]:
    """Check the directory, or where it will be made; what is written is removed again."""
    subject = Subject(f"data {directory}")
    existing = directory
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not os.statvfs(existing).f_blocks:
        # Such as /proc and /sys: nothing of it is on a disk.
        text = f"{existing} is on a file system that keeps no files"
        return [subject.problem("writable", text, "choose a directory on a local disk")]
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        advice = "make it a directory of the user that runs the server"
        return [subject.problem("writable", f"{existing} cannot be written to", advice)]
    found = [space(subject, shutil.disk_usage(existing).free)]
    if existing == directory:
        found.append(privacy(subject, directory.stat()))
    else:
        found.append(subject.ok("permissions", "will be made, for its owner only"))
    try:
        times = _syncs(existing)
    except OSError as error:
        text = f"nothing can be written ({error.strerror})"
        advice = _ADVICE.get(error.errno or 0, "choose a directory on a local disk")
        return [*found, subject.problem("sync", text, advice)]
    advice = "keep it on a local disk with fast syncs (NVMe)"
    return [*found, latency.judged(subject, "sync", times, _SYNC, advice)]


def fabric(directory: Path) -> Finding:
    """Look for the fabric of an embedded server in the directory."""
    subject = Subject(f"data {directory}")
    try:
        if not copying.look(directory):
            return subject.ok("fabric", "none yet: the first server begins it")
    except StoreRefused as error:
        return subject.refused("fabric", error)
    return subject.ok("fabric", f"there is one, with records of format {DATA_FORMAT} or older")


def space(subject: Subject, free: int) -> Finding:
    """Judge how many bytes are free."""
    text = f"{free / _GIB:.1f} GiB free"
    if free < _LITTLE:
        return subject.problem("space", text, "make room: a full disk stops the fabric")
    if free < _PLENTY:
        return subject.note("space", text, "make room")
    return subject.ok("space", text)


def privacy(subject: Subject, found: os.stat_result) -> Finding:
    """Judge who may look into the directory."""
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o002:
        return subject.problem("permissions", f"{mode:04o}: anybody may write", "chmod 700")
    if mode & 0o077:
        return subject.note("permissions", f"{mode:04o}: not for its owner only", "chmod 700")
    return subject.ok("permissions", f"{mode:04o}")


def _syncs(directory: Path) -> list[float]:
    times = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(_ROUNDS):
            began = time.perf_counter()
            file.write(b"\0" * _BYTES)
            file.flush()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return times
