"""The fields of a board: how each is read into a task, and written back."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from google.protobuf.json_format import MessageToDict

from infrafabric.money import format_usd, parse_usd
from infrafabric.v1.task_pb2 import Dispatch, Task, TaskState
from infrafabric.values import from_struct, to_struct
from infrafabric_cli.board.model import Value
from infrafabric_cli.names import hours, short, value_of

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:\-]{0,127}", re.ASCII)
_ID_RULE = "must be 1 to 128 characters of A-Z a-z 0-9 . _ : - and begin with a letter or digit"
_CAPABILITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:\-/]{0,127}", re.ASCII)
_CAPABILITY_RULE = _ID_RULE.replace(": -", ": - /")
_HOURS = re.compile(r"([0-9]{1,3})(?:\.([0-9]{1,6}))?", re.ASCII)
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}", re.ASCII)

_HOURS_RULE = "must be a number of hours from 0 to 720 with at most 6 decimals"
_HOUR_MICROSECONDS = 3_600 * 10**6
_MAX_INPUT_BYTES = 256 * 1024
_YES = frozenset({"yes", "true", "x", "y", "1"})
_NO = frozenset({"no", "false", "n", "0"})


def parse_hours(text: str) -> int:
    """Return the microseconds of a number of hours, exactly to the microsecond.

    Raises:
        ValueError: the text breaks the rule, which is the message.
    """
    match = _HOURS.fullmatch(text)
    if match is None:
        raise ValueError(_HOURS_RULE)
    whole, fraction = match.groups(default="")
    micros = (int(whole) * 10**6 + int(fraction.ljust(6, "0"))) * 3_600
    if micros > 720 * _HOUR_MICROSECONDS:
        raise ValueError(_HOURS_RULE)
    return micros


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("must be a single value, not a list or a mapping")


def _names(value: Value, pattern: re.Pattern[str], rule: str, most: int) -> list[str]:
    match value:
        case dict():
            raise ValueError("must be a list, not a mapping")
        case str():
            listed = value.split(",")
        case _:
            listed = value
    # In Markdown people write names as code.
    names = [name for each in listed if (name := each.strip().strip("`"))]
    for name in names:
        if not pattern.fullmatch(name):
            raise ValueError(f"{name[:140]!r} {rule}")
    if len(names) > most:
        raise ValueError(f"must have at most {most} entries, has {len(names)}")
    return list(dict.fromkeys(names))


def _integer(value: Value, least: int, most: int) -> int:
    text = _text(value)
    if not _INTEGER.fullmatch(text) or not least <= int(text) <= most:
        raise ValueError(f"must be a whole number from {least} to {most}")
    return int(text)


def _at_most(value: Value, most: int) -> str:
    text = _text(value)
    if len(text) > most:
        raise ValueError(f"must have at most {most} characters, has {len(text)}")
    return text


def _set_id(task: Task, value: Value) -> None:
    text = _text(value)
    if not _ID.fullmatch(text):
        raise ValueError(_ID_RULE)
    task.task_id = text


def _set_title(task: Task, value: Value) -> None:
    task.title = _at_most(value, 256)


def _set_hours(task: Task, value: Value) -> None:
    task.estimated_duration.FromMicroseconds(parse_hours(_text(value)))


def _set_depends(task: Task, value: Value) -> None:
    task.dependencies.extend(_names(value, _ID, _ID_RULE, 128))


def _set_capabilities(task: Task, value: Value) -> None:
    task.required_capabilities.extend(_names(value, _CAPABILITY, _CAPABILITY_RULE, 64))


def _set_priority(task: Task, value: Value) -> None:
    task.priority = _integer(value, -1000, 1000)


def _set_filler(task: Task, value: Value) -> None:
    text = _text(value).lower()
    if text not in _YES | _NO:
        raise ValueError("must be yes or no")
    task.filler = text in _YES


def _set_max_cost(task: Task, value: Value) -> None:
    task.max_cost_micros = parse_usd(_text(value).removeprefix("$"))


def _set_model(task: Task, value: Value) -> None:
    task.preferred_model = _at_most(value, 128)


def _set_dispatch(task: Task, value: Value) -> None:
    task.dispatch = Dispatch.ValueType(value_of(Dispatch.DESCRIPTOR, _text(value)))


def _set_deadline(task: Task, value: Value) -> None:
    try:
        moment = datetime.fromisoformat(_text(value))
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        task.deadline_time.FromDatetime(zoned.astimezone(UTC))
    except (ValueError, OverflowError) as error:
        raise ValueError("must be a time such as 2026-01-31T12:00:00Z") from error


def _set_progress_timeout(task: Task, value: Value) -> None:
    task.progress_timeout.FromSeconds(60 * _integer(value, 1, 43_200))


def _set_max_attempts(task: Task, value: Value) -> None:
    task.retry_policy.max_attempts = _integer(value, 1, 100)


def _set_input(task: Task, value: Value) -> None:
    if isinstance(value, str):
        try:
            value = json.loads(value, parse_constant=_no_constant)
        except RecursionError as error:
            raise ValueError("must be nested at most 32 deep") from error
        except ValueError as error:
            raise ValueError(f"must be a JSON object: {error}") from error
    match value:
        case dict():
            task.input.CopyFrom(to_struct(value))
        case _:
            raise ValueError('must be a mapping, such as {"pages": 3}')
    if task.input.ByteSize() > _MAX_INPUT_BYTES:
        raise ValueError(f"must have at most {_MAX_INPUT_BYTES} bytes, has {task.input.ByteSize()}")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


REQUIRED = ("id", "title")

# Written by an export for those who read it, and passed over by an import.
INFORMATIVE = frozenset({"state", "owner", "milestone"})

SETTERS: dict[str, Callable[[Task, Value], None]] = {
    "id": _set_id,
    "title": _set_title,
    "hours": _set_hours,
    "depends": _set_depends,
    "capabilities": _set_capabilities,
    "priority": _set_priority,
    "filler": _set_filler,
    "max_cost": _set_max_cost,
    "model": _set_model,
    "dispatch": _set_dispatch,
    "deadline": _set_deadline,
    "progress_timeout_minutes": _set_progress_timeout,
    "max_attempts": _set_max_attempts,
    "input": _set_input,
}

# Paths in the refusals of a server, by the field of a board that they are about.
PATHS = {
    "task_id": "id",
    "dependencies": "depends",
    "required_capabilities": "capabilities",
    "max_cost_micros": "max_cost",
    "preferred_model": "model",
    "estimated_duration": "hours",
    "deadline_time": "deadline",
    "progress_timeout": "progress_timeout_minutes",
    "retry_policy": "max_attempts",
}


def written(task: Task) -> dict[str, Any]:
    """Return a task as the fields of a board, in their order, without what is empty."""
    values: dict[str, Any] = {
        "id": task.task_id,
        "title": task.title,
        "hours": hours(task.estimated_duration),
        "depends": list(task.dependencies),
        "capabilities": sorted(task.required_capabilities),
        "priority": str(task.priority) if task.priority else "",
        "filler": "yes" if task.filler else "",
        "max_cost": format_usd(task.max_cost_micros) if task.HasField("max_cost_micros") else "",
        "model": task.preferred_model,
        "dispatch": _dispatch(task),
        "deadline": MessageToDict(task.deadline_time) if task.HasField("deadline_time") else "",
        "progress_timeout_minutes": _minutes(task),
        "max_attempts": str(task.retry_policy.max_attempts or ""),
        "input": from_struct(task.input),
        "state": short(TaskState.DESCRIPTOR, task.state) if task.state else "",
        "owner": task.owner_swarm_id,
        "milestone": str(task.milestone_percent or ""),
    }
    return {name: value for name, value in values.items() if value or name in REQUIRED}


def _dispatch(task: Task) -> str:
    usual = (Dispatch.DISPATCH_UNSPECIFIED, Dispatch.DISPATCH_AUTO)
    return "" if task.dispatch in usual else short(Dispatch.DESCRIPTOR, task.dispatch)


def _minutes(task: Task) -> str:
    # A board counts in minutes; what another client set to the second is rounded up.
    return str(-(-task.progress_timeout.ToSeconds() // 60) or "")
