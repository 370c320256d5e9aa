"""Refusals become exceptions by their reason, never by their text."""

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from infrafabric import errors, refusals
from infrafabric.v1 import error_pb2
from tests.unit.client.fabric_model import status_of

REASONS = [value for value in error_pb2.ErrorReason.values() if value]


def rpc_error(
    code: grpc.StatusCode, text: str, *metadata: tuple[str, bytes]
) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*metadata), text)


def test_every_reason_of_the_contract_has_its_class() -> None:
    assert set(refusals.BY_REASON) == set(REASONS)
    assert len(set(refusals.BY_REASON.values())) == len(REASONS)


def test_every_class_is_in_the_tree_of_the_docstring() -> None:
    tree = errors.__doc__ or ""
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.FabricError)
    }
    assert {name for name in classes if f" {name}" not in tree} == set()


@pytest.mark.parametrize("reason", REASONS, ids=error_pb2.ErrorReason.Name)
def test_reason_decides_the_class(reason: error_pb2.ErrorReason.ValueType) -> None:
    error = refusals.from_status(status_of(reason, "any text at all"))
    assert type(error) is refusals.BY_REASON[reason]
    assert error.reason == error_pb2.ErrorReason.Name(reason)
    assert error.message == "any text at all"


def test_newer_reason_is_still_a_refusal() -> None:
    info = any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason="ERROR_REASON_BRAND_NEW", domain="infrafabric"))
    error = refusals.from_status(status_pb2.Status(code=9, message="new", details=[info]))
    assert type(error) is errors.Refused
    assert error.reason == "ERROR_REASON_BRAND_NEW"


def test_reason_of_another_domain_is_not_ours() -> None:
    info = any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason="ERROR_REASON_TASK_NOT_FOUND", domain="proxy"))
    error = refusals.from_status(status_pb2.Status(code=5, details=[info]))
    assert type(error) is errors.Refused


def test_fields_and_the_time_to_wait_are_kept() -> None:
    bad, retry = any_pb2.Any(), any_pb2.Any()
    bad.Pack(
        error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(
                    field="tasks[3].title", description="must be at most 256 characters"
                )
            ]
        )
    )
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromMilliseconds(1500)
    retry.Pack(info)
    error = refusals.from_status(status_pb2.Status(details=[bad, retry]))
    assert error.fields == (
        errors.FieldViolation("tasks[3].title", "must be at most 256 characters"),
    )
    assert error.retry_after == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.Unreachable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.Unreachable),
        (grpc.StatusCode.CANCELLED, errors.Unreachable),
        (grpc.StatusCode.UNIMPLEMENTED, errors.Refused),
        (grpc.StatusCode.UNAUTHENTICATED, errors.Refused),
    ],
)
def test_failure_without_details_goes_by_its_code(
    code: grpc.StatusCode, kind: type[errors.FabricError]
) -> None:
    error = refusals.from_rpc_error(rpc_error(code, "connection refused"))
    assert type(error) is kind
    assert error.message == f"{code.name}: connection refused"


def test_failure_with_details_goes_by_its_reason() -> None:
    status = status_of(error_pb2.ERROR_REASON_DRAINING, "going down", retry_after=2)
    packed = ("grpc-status-details-bin", status.SerializeToString())
    error = refusals.from_rpc_error(rpc_error(grpc.StatusCode.UNAVAILABLE, "going down", packed))
    assert type(error) is errors.Draining
    assert error.retry_after == pytest.approx(2)
