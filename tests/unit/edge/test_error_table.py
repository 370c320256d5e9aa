import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from pydantic import ValidationError

from infrafabric.v1.error_pb2 import ErrorReason
from infrafabric_server.coordinator.models import TaskSpec
from infrafabric_server.edge.error_table import (
    CODES,
    INTERNAL_MESSAGE,
    RETRY_SECONDS,
    as_refusal,
    code_number,
    status_of,
)
from infrafabric_server.errors import FabricError, FieldViolation, InvalidField, Reason
from infrafabric_server.limits import ID_RULE
from infrafabric_server.store.protocol import (
    Compacted,
    LeaseNotFound,
    StoreClosed,
    StoreDenied,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)

CONTRACT = Path(__file__).parents[3] / "proto/infrafabric/v1/error.proto"

# What a client takes in headers by default, in bytes.
HEADER_LIMIT = 8 * 1024


MessageT = TypeVar("MessageT", bound=Message)


def detail(status: Status, kind: type[MessageT]) -> MessageT | None:
    """Return the detail of one kind."""
    for packed in status.details:
        found = kind()
        if packed.Unpack(found):
            return found
    return None


def invalid_task() -> ValidationError:
    """Return what a model says about a task with two bad fields."""
    with pytest.raises(ValidationError) as caught:
        TaskSpec(task_id="?", dependencies=("a", "-b"), create_time=datetime.now(UTC))
    return caught.value


def test_the_contract_and_the_server_know_the_same_reasons() -> None:
    names = {name.removeprefix("ERROR_REASON_") for name, _ in ErrorReason.items()}
    assert names - {"UNSPECIFIED"} == {reason.name for reason in Reason}
    assert all(reason.value == reason.name for reason in Reason)


def test_every_reason_has_the_code_that_the_contract_promises() -> None:
    assert set(CODES) == set(Reason)
    text = CONTRACT.read_text()
    for reason, code in CODES.items():
        comment = re.search(rf"((?://.*\n\s*)+)ERROR_REASON_{reason.name} =", text)
        assert comment is not None
        assert f"Code {code.name}" in comment[1], reason


def test_a_retry_is_promised_where_the_contract_promises_it() -> None:
    text = CONTRACT.read_text()
    promised = set(re.findall(r"with RetryInfo\.\s*ERROR_REASON_(\w+) =", text))
    assert {reason.name for reason in RETRY_SECONDS} == promised
    for reason in Reason:
        info = detail(status_of(FabricError(reason, "no")), RetryInfo)
        assert (info is not None) == (reason.name in promised)


@pytest.mark.parametrize("reason", list(Reason))
def test_a_refusal_travels_with_its_reason(reason: Reason) -> None:
    status = status_of(FabricError(reason, "what happened, and what to do"))
    assert status.code == code_number(CODES[reason])
    assert status.message == "what happened, and what to do"
    info = detail(status, ErrorInfo)
    assert info == ErrorInfo(domain="infrafabric", reason=f"ERROR_REASON_{reason.name}")
    assert detail(status, BadRequest) is None


def test_bad_fields_are_named() -> None:
    error = InvalidField(FieldViolation("tasks[3].title", "too long"), FieldViolation("x", "y"))
    bad = detail(status_of(error), BadRequest)
    assert bad is not None
    assert [(each.field, each.description) for each in bad.field_violations] == [
        ("tasks[3].title", "too long"),
        ("x", "y"),
    ]


def test_a_violated_model_names_the_path_and_our_rule() -> None:
    refusal = as_refusal(invalid_task())
    assert refusal is not None
    assert refusal.reason is Reason.INVALID_FIELD
    assert refusal.fields == (
        FieldViolation("task_id", ID_RULE),
        FieldViolation("dependencies[1]", ID_RULE),
    )
    assert "-b" not in refusal.message


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (StoreUnavailable("node 3 at 10.0.0.1"), "may have taken effect"),
        (StoreClosed("closed"), "may have taken effect"),
        (StoreFull("/var/lib/secret is full"), "nothing was written; make room"),
        (StoreDenied("etcd denies user fabric-1"), "nothing was done; go to another replica"),
    ],
)
def test_an_outage_of_the_store_passes_and_is_told_without_its_details(
    error: Exception, told: str
) -> None:
    status = status_of(error)
    assert detail(status, ErrorInfo) == ErrorInfo(
        domain="infrafabric", reason="ERROR_REASON_STORE_UNAVAILABLE"
    )
    assert detail(status, RetryInfo) == RetryInfo(retry_delay=Duration(seconds=1))
    assert told in status.message
    assert str(error) not in status.message


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("password=hunter2"),
        Compacted(7),
        LeaseNotFound("password=hunter2"),
        StoreRefused("password=hunter2"),
        KeyError("password=hunter2"),
    ],
)
def test_what_nobody_expected_is_internal_and_says_nothing(error: Exception) -> None:
    assert as_refusal(error) is None
    assert status_of(error) == Status(
        code=code_number(grpc.StatusCode.INTERNAL), message=INTERNAL_MESSAGE
    )


def test_the_time_to_retry_is_exact() -> None:
    error = FabricError(Reason.CONTENTION, "again", retry_after=2.25)
    info = detail(status_of(error), RetryInfo)
    assert info is not None
    assert (info.retry_delay.seconds, info.retry_delay.nanos) == (2, 250_000_000)


def test_a_status_fits_into_the_headers_that_clients_take() -> None:
    violations = [FieldViolation("f" * 5000, "r" * 5000)] * 1000
    status = status_of(InvalidField(*violations))
    in_headers = len(status.SerializeToString()) * 4 / 3 + len(status.message)
    assert in_headers < HEADER_LIMIT
    assert status.message.endswith("…")
