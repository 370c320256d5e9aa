"""Watches: each change once and in order, over every cut."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.robustness.check.replay import Replay
from tests.robustness.check.tasks import Life
from tests.robustness.check.violation import Violation
from tests.robustness.evidence import Evidence
from tests.robustness.history import Observation

# Faults that take away the history which a watch is resumed from.
FORGETTING = frozenset(("etcd-compact", "etcd-quota"))

# How calls for help are named over gRPC and over HTTP.
_HELP = (5, "help")


@dataclass(slots=True)
class Watch:
    """What one watcher saw from one snapshot on, up to the next snapshot or its end.

    Attributes:
        client: who watched.
        start: cursor of the snapshot's end.
        end: cursor of the last event.
        snapshot: what the snapshot showed.
        changes: what came after it.
        over: whether a gap ended it.
    """

    client: str
    start: int = 0
    end: int = 0
    snapshot: list[Observation] = field(default_factory=list)
    changes: list[Observation] = field(default_factory=list)
    over: bool = False


def watches(evidence: Evidence, kind: str) -> list[Watch]:
    """Return the watches of `task` or of `status`, cut at their snapshots."""
    current: dict[str, Watch] = {}
    found: list[Watch] = []
    snapshots: defaultdict[str, list[Observation]] = defaultdict(list)
    for seen in evidence.seen(
        f"{kind}-snapshot", f"{kind}-snapshot-end", f"{kind}-changed", f"{kind}-gap"
    ):
        if seen.kind == f"{kind}-snapshot":
            snapshots[seen.client].append(seen)
        elif seen.kind == f"{kind}-snapshot-end":
            cursor = int(seen.fields["cursor"])
            watch = Watch(seen.client, cursor, cursor, snapshots.pop(seen.client, []))
            current[seen.client] = watch
            found.append(watch)
        elif seen.kind == f"{kind}-gap":
            snapshots.pop(seen.client, None)
            current[seen.client].over = True
        else:
            watch = current[seen.client]
            watch.changes.append(seen)
            watch.end = int(seen.fields["cursor"])
    return found


def _in_order(watch: Watch, key: str) -> Iterator[Violation]:
    """The cursors never go back, and nothing comes twice under one."""
    last = watch.start
    told: set[tuple[int, str]] = set()
    for seen in watch.changes:
        cursor, about = int(seen.fields["cursor"]), str(seen.fields[key])
        if cursor < last or cursor <= watch.start:
            yield Violation(
                "watch-order", f"{watch.client} was sent cursor {cursor} after {last}", about
            )
        if (cursor, about) in told:
            yield Violation(
                "watch-once", f"{watch.client} was told twice of {about} at {cursor}", about
            )
        told.add((cursor, about))
        last = cursor


def task_watches(evidence: Evidence, replay: Replay) -> Iterator[Violation]:
    """A task watch tells each version of each task, from its snapshot on, exactly once."""
    written = {
        (version.revision, task_id): version.life
        for task_id, versions in replay.versions.items()
        for version in versions
    }
    for watch in watches(evidence, "task"):
        yield from _in_order(watch, "task_id")
        told = {(int(s.fields["cursor"]), str(s.fields["task_id"])): s for s in watch.changes}
        for at, seen in told.items():
            life = written.get(at)
            if life is None:
                yield _watched(watch, at, "which nothing in the log has changed then")
            elif _written(life) != _shown(seen):
                yield _watched(watch, at, f"as {_shown(seen)}, and the log says {_written(life)}")
        for at in written:
            if watch.start < at[0] <= watch.end and at not in told:
                yield Violation(
                    "watch-holes", f"{watch.client} was not told of {at[1]} at {at[0]}", at[1]
                )
        yield from _snapshot(watch, replay)


def _snapshot(watch: Watch, replay: Replay) -> Iterator[Violation]:
    shown = {str(seen.fields["task_id"]): _shown(seen) for seen in watch.snapshot}
    for task_id, versions in replay.versions.items():
        past = [version.life for version in versions if version.revision <= watch.start]
        wanted = _written(past[-1]) if past else None
        if shown.pop(task_id, None) != wanted:
            yield Violation(
                "watch-snapshot",
                f"the snapshot of {watch.client} at {watch.start} shows {task_id} not as {wanted}",
                task_id,
            )
    for task_id in shown:
        yield Violation("watch-snapshot", f"{watch.client} was shown {task_id}", task_id)


def _written(life: Life) -> tuple[str, int, str, bool]:
    return life.state, life.attempt, life.shown_owner, life.parked


def _shown(seen: Observation) -> tuple[str, int, str, bool]:
    what = seen.fields
    return what["state"], what["attempt"], what["owner"], what["parked"]


def _watched(watch: Watch, at: tuple[int, str], why: str) -> Violation:
    return Violation("watch-truth", f"{watch.client} was told of {at[1]} at {at[0]}, {why}", at[1])


def status_watches(evidence: Evidence) -> Iterator[Violation]:
    """Status watches agree, miss no acknowledged report, and tell every text once."""
    found = watches(evidence, "status")
    sent = {(e.revision, str(e.details["message"])) for e in evidence.entries("broadcast_sent")}
    for watch in found:
        yield from _in_order(watch, "about")
        texts = {
            (int(s.fields["cursor"]), str(s.fields["message"]))
            for s in watch.changes
            if s.fields["what"] == "broadcast"
        }
        wanted = {each for each in sent if watch.start < each[0] <= watch.end}
        for revision, text in wanted - texts:
            yield Violation("watch-holes", f"{watch.client} missed the text {text} of {revision}")
        for revision, text in texts - sent:
            yield Violation("watch-truth", f"{watch.client} got the text {text} at {revision}")
    yield from _agreement(evidence, found)
    yield from _reports(evidence, found)


def _agreement(evidence: Evidence, found: list[Watch]) -> Iterator[Violation]:
    """Two watchers see the same statuses under the same cursors, where both watched.

    What a swarm can do is told with its status; it is left out where that has changed since.
    """
    joined = {(entry.revision, entry.swarm_id) for entry in evidence.entries("swarm_registered")}
    told = [
        {
            (int(s.fields["cursor"]), str(s.fields["about"]), str(s.fields["status"]))
            for s in watch.changes
            if s.fields["what"] == "status"
        }
        for watch in found
    ]
    for first, ours in zip(found, told, strict=True):
        for second, theirs in zip(found, told, strict=True):
            start, end = max(first.start, second.start), min(first.end, second.end)
            for cursor, swarm_id, status in ours - theirs:
                if start < cursor <= end and (cursor, swarm_id) not in joined:
                    yield Violation(
                        "watch-agreement",
                        f"{first.client} saw {swarm_id} {status} at {cursor}, and "
                        f"{second.client} did not",
                        swarm_id=swarm_id,
                    )


def _reports(evidence: Evidence, found: list[Watch]) -> Iterator[Violation]:
    """Every acknowledged call for help is seen by who watched all the time.

    A report of being blocked may be overtaken by whoever resolves the blocker.
    """
    since = {watch.client: watch.changes[0].at for watch in found if watch.changes}
    whole = Counter(watch.client for watch in found)
    for watch in found:
        if whole[watch.client] > 1 or watch.client not in since:
            continue
        texts = {str(s.fields["message"]) for s in watch.changes}
        for operation in evidence.of_kind("status"):
            if operation.fields["status"] not in _HELP or operation.invoked < since[watch.client]:
                continue
            if operation.acknowledged and operation.tag not in texts:
                yield Violation(
                    "watch-holes",
                    f"{watch.client} never saw the report {operation.tag} of "
                    f"{operation.swarm_id}, which was acknowledged",
                    swarm_id=operation.swarm_id,
                )


def gaps(evidence: Evidence) -> Iterator[Violation]:
    """A watch is told that it missed something only when the history was taken away."""
    injected = {str(seen.fields["name"]) for seen in evidence.seen("fault")}
    if injected & FORGETTING:
        return
    for seen in evidence.seen("task-gap", "status-gap"):
        yield Violation("watch-gap", f"{seen.client} was told of a gap")


def listeners(evidence: Evidence) -> Iterator[Violation]:
    """A session hears every text once, from its first one to its last one, over every cut."""
    sent = {str(entry.details["message"]): entry for entry in evidence.entries("broadcast_sent")}
    heard: defaultdict[str, list[Observation]] = defaultdict(list)
    for seen in evidence.seen("text"):
        heard[seen.client].append(seen)
    for client, texts in heard.items():
        counts = Counter(str(seen.fields["message"]) for seen in texts)
        for text, count in counts.items():
            if count > 1:
                yield Violation("text-once", f"{client} heard the text {text} {count} times")
            if text not in sent:
                yield Violation("watch-truth", f"{client} heard {text}, which nobody sent")
        places = [sent[text].revision for text in counts if text in sent]
        for text in sent.keys() - counts.keys():
            if min(places) < sent[text].revision < max(places):
                yield Violation("watch-holes", f"{client} never heard the text {text}")


def streams(evidence: Evidence) -> Iterator[Violation]:
    """The frames of a stream are numbered from 1, without holes."""
    for seen in evidence.seen("stream"):
        sequences = seen.fields["sequences"]
        if sequences != list(range(1, len(sequences) + 1)):
            yield Violation("stream-order", f"{seen.client} got the frames {sequences}")


def tails(evidence: Evidence) -> Iterator[Violation]:
    """A tail of the log is the log, from its first entry on."""
    sealed = {entry.sequence: entry.hash for entry in evidence.log}
    last: dict[str, int] = {}
    for seen in evidence.seen("tail"):
        sequence, digest = int(seen.fields["sequence"]), seen.fields["hash"]
        before = last.get(seen.client)
        if before is not None and sequence != before + 1:
            yield Violation("tail-holes", f"{seen.client} got entry {sequence} after {before}")
        # What is decided after the log was exported is in the tail alone.
        if sequence <= len(sealed) and sealed.get(sequence) != digest:
            yield Violation("tail-truth", f"{seen.client} got another entry {sequence}")
        last[seen.client] = sequence
