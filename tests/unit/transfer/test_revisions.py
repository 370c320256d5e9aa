"""Revisions that stand in values."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from infrafabric_server.coordinator import models as tasks
from infrafabric_server.fleet import models as fleet
from infrafabric_server.fleet.models import AgentStatus, Status
from infrafabric_server.transfer.revisions import COUNTED, COUNTED_REVISION, COUNTING, moved, same
from infrafabric_server.witness import models as witness


def test_no_stored_record_names_a_revision_but_those_that_are_moved() -> None:
    kept: list[type[BaseModel]] = []
    for module in (tasks, fleet, witness):
        found = [each for each in vars(module).values() if isinstance(each, type)]
        kept += [each for each in found if issubclass(each, BaseModel)]
    assert len(kept) > 10
    named = {
        (each, name)
        for each in kept
        for name in each.model_fields
        if any(word in name for word in ("revision", "counted", "epoch", "cursor", "term"))
    }
    assert named == {(AgentStatus, COUNTED_REVISION), (AgentStatus, COUNTED)}


@given(
    st.integers(0, 1000),
    st.dictionaries(st.text(min_size=1, max_size=5), st.integers(1, 1000), max_size=3),
    st.text(max_size=10),
)
def test_a_status_is_moved_and_stays_what_it_was_otherwise(
    revision: int, counted: dict[str, int], message: str
) -> None:
    status = AgentStatus(
        swarm_id="worker",
        status=Status.IDLE,
        status_time=datetime(2026, 1, 1, tzinfo=UTC),
        message=message,
        counted_revision=revision,
        counted=counted,
    )
    value = status.model_dump_json(exclude_defaults=True)
    for prefix in COUNTING:
        there = moved(f"{prefix}worker", value, lambda old: old + 7 if old else 0)
        assert AgentStatus.model_validate_json(there) == status.model_copy(
            update={
                "counted_revision": revision + 7 if revision else 0,
                "counted": {task_id: at + 7 for task_id, at in counted.items()},
            }
        )
        assert same(f"{prefix}worker", value, there, lambda old: old + 7 if old else 0)
    assert moved("tasks/worker", value, lambda _old: 1) == value
