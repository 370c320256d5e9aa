"""What the answers of etcd mean."""

from collections.abc import Sequence

from infrafabric_server.doctor.findings import Finding, Subject
from infrafabric_server.store.data_format import DATA_FORMAT
from infrafabric_server.store.etcd.upkeep import layout_of
from infrafabric_server.store.etcd.wire import etcd_pb2 as pb
from infrafabric_server.store.protocol import StoreRefused

# The quota that a member has when it was told none, and the part of one that may be used.
_QUOTA = 2 * 1024**3
_FULL = 0.8
_MIB = 1024 * 1024
# A database that is mostly holes is worth a defragmentation from this size on.
_SPARSE_BYTES = 256 * _MIB
_SPARSE = 0.5


def leader(subject: Subject, status: pb.StatusResponse) -> Finding:
    """Judge whether a member takes part in a cluster that can decide."""
    if not status.leader:
        return subject.problem(
            "leader", "it knows of no leader", "start a majority of the members, and let them meet"
        )
    if status.isLearner:
        return subject.problem(
            "leader", "it is a learner, which answers no clients", "promote it, or leave it out"
        )
    mine = status.leader == status.header.member_id
    return subject.ok("leader", "it leads" if mine else "it follows a leader")


def room(subject: Subject, status: pb.StatusResponse) -> Finding:
    """Judge how full the database of a member is."""
    size, used = status.dbSize, status.dbSizeInUse
    quota = status.dbSizeQuota or _QUOTA
    known = "" if status.dbSizeQuota else " unless told otherwise"
    text = f"{size / _MIB:.0f} MiB of a quota of {quota / _MIB:.0f} MiB{known}"
    if size > _FULL * quota:
        return subject.problem(
            "quota", text, "defragment, then start it with a larger --quota-backend-bytes"
        )
    if size > _SPARSE_BYTES and used < _SPARSE * size:
        return subject.note(
            "quota", f"{text}, {used / _MIB:.0f} MiB in use", "defragment, one member at a time"
        )
    return subject.ok("quota", text)


def fabric(subject: Subject, prefix: str, found: pb.RangeResponse) -> Finding:
    """Judge what is at the place where a fabric says that it is there."""
    if not found.kvs:
        return subject.ok("fabric", "none yet: the first server begins it")
    try:
        layout_of(prefix, found.kvs[0])
    except StoreRefused as error:
        return subject.refused("fabric", error)
    return subject.ok("fabric", f"there is one, with records of format {DATA_FORMAT} or older")


def agreement(subject: Subject, statuses: Sequence[pb.StatusResponse]) -> list[Finding]:
    """Judge whether the members that answered are of one cluster."""
    if len({status.header.cluster_id for status in statuses}) > 1:
        return [
            subject.problem(
                "cluster", "the endpoints belong to different clusters", "correct the address"
            )
        ]
    return []
