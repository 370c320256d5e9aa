"""How tasks are shown."""

from infrafabric.money import format_usd
from infrafabric.v1.task_pb2 import Task, TaskState
from infrafabric.values import from_struct
from infrafabric_cli.layout import Column, number, text
from infrafabric_cli.names import hours, moment, short
from infrafabric_cli.output import as_json, json_text, print_json, say

COLUMNS = (
    *map(Column, ("task", "state", "owner")),
    *map(number, ("attempt", "%", "priority")),
    *map(text, ("title", "waits for")),
)


def row(task: Task) -> tuple[str, ...]:
    """Return the cells of one task, in the order of COLUMNS."""
    return (
        task.task_id,
        state(task),
        task.owner_swarm_id,
        str(task.attempt or ""),
        str(task.milestone_percent or ""),
        str(task.priority or ""),
        task.title,
        ", ".join([*task.dependencies, *task.blocked_on]),
    )


def state(task: Task) -> str:
    """Return the state in one word, with what is special about it."""
    word = short(TaskState.DESCRIPTOR, task.state)
    if task.parked:
        return f"{word} (parked)"
    return f"{word} (filler)" if task.filler else word


def show(task: Task, *, json_output: bool) -> None:
    """Print one task after something was done to it."""
    if json_output:
        print_json(as_json(task))
        return
    owner = f" by {task.owner_swarm_id}, attempt {task.attempt}" if task.owner_swarm_id else ""
    say(f"{task.task_id}: {state(task)}{owner}")


def details(task: Task, waits_because: str) -> list[tuple[str, str]]:
    """Return all that is known of a task, as pairs of name and value, without what is empty.

    Args:
        task: the task.
        waits_because: what keeps it from being assigned.
    """
    limited = task.HasField("max_cost_micros")
    pairs = [
        ("task", task.task_id),
        ("title", task.title),
        ("state", state(task)),
        ("waits because", waits_because),
        ("reason", task.reason),
        ("owner", task.owner_swarm_id),
        ("attempt", str(task.attempt or "")),
        ("offered to", task.offered_swarm_id),
        ("runs in chassis as", task.chassis_swarm_id),
        ("priority", str(task.priority or "")),
        ("capabilities", ", ".join(task.required_capabilities)),
        ("depends on", ", ".join(task.dependencies)),
        ("hours", hours(task.estimated_duration)),
        ("max cost USD", format_usd(task.max_cost_micros) if limited else ""),
        ("cost USD", format_usd(task.cost_micros) if task.cost_micros else ""),
        ("spent USD", format_usd(task.spent_micros) if task.spent_micros else ""),
        ("reserved USD", format_usd(task.reserved_micros) if task.reserved_micros else ""),
        ("milestone", f"{task.milestone_percent} %" if task.milestone_percent else ""),
        ("note", task.milestone_note),
        ("waits for", ", ".join(task.blocked_on)),
        ("next", task.next_action),
        ("failures", str(task.failures or "")),
        ("model", task.preferred_model),
        ("created", moment(task.create_time)),
        ("claimed", moment(task.claim_time)),
        ("claim ends", moment(task.claim_expire_time)),
        ("not before", moment(task.available_time)),
        ("deadline", moment(task.deadline_time)),
        ("ended", moment(task.end_time)),
        ("input", json_text(from_struct(task.input)) if task.HasField("input") else ""),
        ("result", json_text(from_struct(task.result)) if task.HasField("result") else ""),
    ]
    return [(name, value) for name, value in pairs if value]
