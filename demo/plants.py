"""Faults to plant on purpose, so that a check that finds nothing can be seen to look.

Each acts on real evidence: a session that ignores a refusal, or an exported log that was
altered. The checks know nothing of them.
"""

import hashlib
import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

from demo.journal import read_lines


class Plant(StrEnum):
    """What is planted; the session that ignores a refusal is `demo.rogue`."""

    DOUBLE_CLAIM = "double-claim"
    LOST_COMPLETION = "lost-completion"
    BROKEN_CHAIN = "broken-chain"


def lose_completion(export: Path) -> None:
    """Forge the log without its last completion: as if the fabric had forgotten a promise.

    The chain is sealed anew from there, so that it is intact in itself.
    """
    entries = list(read_lines(export))
    completions = [entry for entry in entries if entry["operation"] == "task_completed"]
    lost = completions[-1]["sequence"]
    kept = [entry for entry in entries if entry["sequence"] < lost]
    for entry in entries[lost:]:
        body = json.loads(entry["body"]) | {"sequence": len(kept) + 1}
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        before = kept[-1]["hash"] if kept else "0" * 64
        seal = hashlib.sha256(f"{before}\n{text}".encode()).hexdigest()
        kept.append(
            {**entry, "sequence": len(kept) + 1, "body": text, "previous_hash": before}
            | {"hash": seal}
        )
    _write(export, kept)


def break_chain(export: Path) -> None:
    """Change one letter in the middle of the log."""
    entries = list(read_lines(export))
    middle = entries[len(entries) // 2]
    middle["body"] = middle["body"].replace("component", "componenx", 1)
    _write(export, entries)


FORGERIES: dict[Plant, Callable[[Path], None]] = {
    Plant.LOST_COMPLETION: lose_completion,
    Plant.BROKEN_CHAIN: break_chain,
}


def _write(export: Path, entries: list[dict[str, Any]]) -> None:
    export.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
