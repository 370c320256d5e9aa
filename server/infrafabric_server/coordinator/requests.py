"""Request ids: a repeated call is answered as the first one was."""

from infrafabric_server.coordinator.models import RequestRecord
from infrafabric_server.errors import FabricError, FieldViolation, Reason
from infrafabric_server.store.mirror import View


def answered(requests: View[RequestRecord], request_id: str, digest: str) -> RequestRecord | None:
    """Return the answer to an earlier call with this request id and content, if there was one.

    Raises REQUEST_ID_REUSED when that call had another content.
    """
    record = requests.get(request_id) if request_id else None
    if record is not None and record.digest != digest:
        raise FabricError(
            Reason.REQUEST_ID_REUSED,
            f"request id {request_id} was used before with another content",
            fields=[FieldViolation("request_id", "must be new for a new request")],
        )
    return record
