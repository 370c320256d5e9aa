import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrafabric.v1.coordinator_swarm_pb2 import ListSwarmsRequest
from infrafabric.v1.coordinator_task_pb2 import ListTasksRequest
from infrafabric.v1.task_pb2 import TASK_STATE_CLAIMED
from infrafabric_server.edge.paging import next_page_token, page_position
from infrafabric_server.errors import FabricError, Reason


@given(st.text(min_size=1))
def test_a_position_comes_back(position: str) -> None:
    request = ListTasksRequest(owner_swarm_id="s", page_size=10)
    request.page_token = next_page_token(request, position)
    request.page_size = 50
    assert page_position(request) == position


def test_the_first_and_the_last_page_have_no_token() -> None:
    assert page_position(ListTasksRequest()) == ""
    assert next_page_token(ListTasksRequest(), "") == ""


def refused(request: ListTasksRequest | ListSwarmsRequest) -> None:
    with pytest.raises(FabricError, match="page_token: must be the next_page_token") as caught:
        page_position(request)
    assert caught.value.reason is Reason.INVALID_PAGE_TOKEN
    assert [each.field for each in caught.value.fields] == ["page_token"]


def test_a_token_is_good_for_its_filters_only() -> None:
    token = next_page_token(ListTasksRequest(owner_swarm_id="s"), "task-9")
    refused(ListTasksRequest(owner_swarm_id="t", page_token=token))
    refused(ListTasksRequest(states=[TASK_STATE_CLAIMED], owner_swarm_id="s", page_token=token))


def test_a_token_is_good_for_its_call_only() -> None:
    refused(ListSwarmsRequest(page_token=next_page_token(ListTasksRequest(), "a")))


def test_a_token_that_is_nested_without_end_is_refused() -> None:
    token = base64.urlsafe_b64encode(b"[" * 99_999).decode()
    refused(ListTasksRequest(page_token=token))


@given(st.text(min_size=1))
def test_made_up_tokens_are_refused(token: str) -> None:
    refused(ListTasksRequest(page_token=token))


@given(st.data())
def test_changed_tokens_are_refused(data: st.DataObject) -> None:
    token = next_page_token(ListTasksRequest(), "task-9")
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("ABab01_-").filter(lambda letter: letter != token[place]))
    refused(ListTasksRequest(page_token=token[:place] + other + token[place + 1 :]))
