"""A process's own account of what it saw: one JSON object a line, only ever appended.

The accounts, with the witness log, are all that the summary is computed from.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Field = str | int | float | list[str]


class Journal:
    """Appends records to a file; each is one write, which a kill cannot tear.

    Args:
        folder: the run's folder; the file is `journals/WRITER.jsonl`, continued if it is there.
        writer: who writes, the `swarm_id` of every record.

    Attributes:
        earlier: the records that an earlier process of the same writer left.
    """

    def __init__(self, folder: Path, writer: str) -> None:
        path = journal_path(folder, writer)
        self.earlier = list(read_lines(path)) if path.exists() else []
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._writer = writer

    def write(self, event: str, task_id: str = "", attempt: int = 0, **fields: Field) -> None:
        """Append a record of this moment.

        Args:
            event: what happened.
            task_id: the task that it is about; left out when empty.
            attempt: its attempt; left out when 0.
            **fields: what else belongs to it.
        """
        record: dict[str, Field] = {"time": time.time(), "event": event, "swarm_id": self._writer}
        if task_id:
            record["task_id"] = task_id
        if attempt:
            record["attempt"] = attempt
        os.write(self._file, (json.dumps(record | fields) + "\n").encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def journal_path(folder: Path, writer: str) -> Path:
    """Return where a writer's journal is, in the run's folder."""
    return folder / "journals" / f"{writer}.jsonl"


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Iterate over the JSON objects of a file; raises ValueError naming the bad line."""
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not JSON: {error}") from error
        match record:
            case dict():
                yield record
            case _:
                raise ValueError(f"{path}, line {number}: not a JSON object")
