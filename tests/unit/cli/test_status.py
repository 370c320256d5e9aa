"""How the statuses of swarms are shown: as lines and rows, and live."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import chop_cells

from infrafabric.v1.breaker_pb2 import CircuitBreaker, CredentialPool
from infrafabric.v1.notify_service_pb2 import StatusEvent
from infrafabric.v1.status_pb2 import STATUS_BUSY, STATUS_IDLE, AgentStatus, BroadcastMessage
from infrafabric.v1.watch_pb2 import Gap, SnapshotEnd
from infrafabric_cli.agents import COLUMNS, NO_SWARMS, line, places, row
from infrafabric_cli.halts import Halts
from infrafabric_cli.live import StatusBoard

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at(ago: timedelta) -> Timestamp:
    time = Timestamp()
    time.FromDatetime(NOW - ago)
    return time


def snapshot(swarm_id: str) -> StatusEvent:
    return StatusEvent(snapshot=AgentStatus(swarm_id=swarm_id, status=STATUS_IDLE))


END = StatusEvent(cursor="1", snapshot_end=SnapshotEnd(count=2))


def test_live_status_follows_the_watch() -> None:
    board = StatusBoard()
    complete = []
    for event in (snapshot("s1"), snapshot("s2"), END):
        board.apply(event)
        complete.append(board.complete)
    assert complete == [False, False, True]
    board.apply(StatusEvent(changed=AgentStatus(swarm_id="s1", status=STATUS_BUSY)))
    board.apply(StatusEvent(removed_swarm_id="s2"))
    assert {name: agent.status for name, agent in board.agents.items()} == {"s1": STATUS_BUSY}


def test_n10_live_status_keeps_what_it_shows_until_a_new_snapshot_is_complete() -> None:
    board = StatusBoard()
    for event in (snapshot("s1"), END, StatusEvent(gap=Gap()), snapshot("s2")):
        board.apply(event)
    assert (list(board.agents), board.complete) == (["s1"], False)
    board.apply(END)
    assert list(board.agents) == ["s2"]


def board_of(*agents: AgentStatus) -> StatusBoard:
    board = StatusBoard()
    for event in (*(StatusEvent(snapshot=agent) for agent in agents), END):
        board.apply(event)
    return board


def test_u3_a_narrow_terminal_shows_what_matters_most() -> None:
    agent = AgentStatus(
        swarm_id="session-3-h323",
        status=STATUS_BUSY,
        last_task="P0.1",
        message="no key",
        tasks_completed=4321,
    )
    board = board_of(agent)
    narrow, wide = (board.view(NOW, width, 24) for width in (50, 120))
    assert narrow[-1].split() == ["session-3-h323", "busy", "P0.1", "no", "key"]
    assert wide[-1].split() == ["session-3-h323", "busy", "P0.1", "4321", "0.00", "no", "key"]
    assert all(len(text) <= 50 for text in narrow)


def test_u3_the_head_counts_apart_who_is_idle_and_waits_for_no_work() -> None:
    board = board_of(
        AgentStatus(swarm_id="gone", status=STATUS_IDLE),
        AgentStatus(swarm_id="here", status=STATUS_IDLE, queue_position=1),
        AgentStatus(swarm_id="works", status=STATUS_BUSY),
    )
    assert board.lines(NOW, 80)[0] == "3 swarms, 2 idle, 1 of them waiting for work"


def test_u3_places_in_the_queue_move_up_when_another_swarm_leaves_it() -> None:
    board = board_of(
        *(
            AgentStatus(
                swarm_id=name,
                status=STATUS_IDLE,
                queue_position=place,
                waiting_since_time=at(timedelta(minutes=-place)),
            )
            for name, place in (("a", 3), ("b", 1), ("c", 2))
        )
    )
    board.apply(StatusEvent(changed=AgentStatus(swarm_id="b", status=STATUS_BUSY)))
    shown = [each.split() for each in board.lines(NOW, 80)[4:]]
    assert [(cells[0], cells[2]) for cells in shown] == [("a", "2"), ("b", "0"), ("c", "1")]


ADA = CircuitBreaker(swarm_id="ada", detail="3 failures", open_time=at(timedelta(minutes=3)))
HOLD = CircuitBreaker(detail="the bill\nis wrong", open_time=at(timedelta(minutes=4)))
POOL = CredentialPool(pool_id="acme", reason="429", swarm_ids=["ben", "cy", "d", "e", "f"])
POOL.paused_until_time.FromDatetime(NOW + timedelta(hours=1))


def waiting(*names: str) -> list[AgentStatus]:
    return [
        AgentStatus(swarm_id=name, status=STATUS_IDLE, queue_position=place)
        for place, name in enumerate(names, 1)
    ]


def test_u3_who_is_kept_from_work_has_no_place_in_the_queue() -> None:
    agents = waiting("ada", "ben", "dan", "eve")
    assert places(agents, Halts([ADA], [POOL])) == {"dan": 1, "eve": 2}
    assert places(agents, Halts([HOLD])) == {}
    assert places(agents, Halts()) == {"ada": 1, "ben": 2, "dan": 3, "eve": 4}


def test_u3_what_keeps_work_from_swarms_is_told_about_the_live_table() -> None:
    board = board_of(*waiting("ada", "ben", "dan"))
    board.halts = Halts([HOLD, ADA], [POOL], more=True)
    title, hold, *_ = shown = board.lines(NOW, 120)
    assert title == "3 swarms, 3 idle, 0 of them waiting for work"
    assert hold == "on hold: all swarms for 4 min: the bill\\nis wrong"
    assert shown[-4:] == [
        "",
        "breaker open: ada for 3 min: 3 failures",
        "paused: pool acme (ben, cy, d, e, ...) until 2026-01-31 13:00:00Z: 429",
        "more breakers are open: infrafabric breaker list --open",
    ]
    assert hold in board.view(NOW, 120, 4), "it is of all of them"
    board.halts = Halts()
    assert board.lines(NOW, 120)[0] == "3 swarms, 3 idle, 3 of them waiting for work"


def test_u3_a_live_table_without_swarms_says_what_to_do() -> None:
    board = board_of()
    board.apply(StatusEvent(broadcast=BroadcastMessage(message="all\x1b hands")))
    assert board.lines(NOW, 80) == [NO_SWARMS, "to everyone: all\\x1b hands"]


@given(
    st.integers(40, 200),
    st.integers(3, 60),
    st.lists(st.text("ab-", min_size=1, max_size=128), unique=True, max_size=30),
)
def test_u3_what_is_live_never_goes_beyond_the_terminal(
    width: int, height: int, names: list[str]
) -> None:
    board = board_of(*(AgentStatus(swarm_id=name, message="no key " * 9) for name in names))
    shown = board.view(NOW, width, height)
    assert len(shown) <= height
    assert all(len(text) <= width for text in shown)
    everything = [
        part for each in board.lines(NOW, width) for part in chop_cells(each, width) or [""]
    ]
    if len(everything) <= height:
        assert shown == everything
    else:
        assert shown[:-1] == everything[: height - 1]
        hidden = len(everything) - height + 1
        assert shown[-1].startswith(f"... and {hidden} more lines: ")


def test_status_rows_and_lines() -> None:
    agent = AgentStatus(
        swarm_id="s1",
        status=STATUS_IDLE,
        status_time=at(timedelta(hours=3)),
        last_task="P0.1",
        tasks_completed=4,
        cost_spent_micros=2_500_000,
    )
    assert row(agent, NOW, 2) == ("s1", "idle", "3 h", "P0.1", "2", "4", "2.50", "")
    assert len(row(agent, NOW, 0)) == len(COLUMNS)
    assert line(StatusEvent(changed=agent), NOW) == "s1: idle (P0.1), since 3 h"
    assert line(StatusEvent(removed_swarm_id="s1"), NOW) == "s1: deregistered"
    said = StatusEvent(broadcast=BroadcastMessage(message="all hands"))
    assert line(said, NOW) == "to everyone: all hands"
    assert line(END, NOW) == ""
