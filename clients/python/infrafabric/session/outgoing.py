"""What waits to be written, made into as few messages as the contract allows."""

from collections import deque

from infrafabric.errors import FieldViolation, InvalidField
from infrafabric.session.requests import Requests
from infrafabric.v1.coordinator_service_pb2 import OpenSessionRequest
from infrafabric.v1.session_client_pb2 import ClientFrame

MAX_FRAMES = 64
MAX_BATCH_BYTES = 256 * 1024

# gRPC ends a stream that carries a message of more than 4 MiB, which would cut a session
# again and again; what is larger than this is refused before it is queued.
MAX_FRAME_BYTES = 4 * 1024 * 1024 - 64 * 1024


def check_size(frame: ClientFrame) -> None:
    """Raise InvalidField when a frame is too large to be sent."""
    size = frame.ByteSize()
    if size > MAX_FRAME_BYTES:
        rule = f"must be at most {MAX_FRAME_BYTES} bytes serialized, is {size}"
        field = frame.WhichOneof("frame") or "frame"
        raise InvalidField(f"{field}: {rule}", fields=(FieldViolation(field, rule),))


class Outgoing:
    """Frames to write, in order: those that want no answer go before requests."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._told: deque[ClientFrame] = deque()

    def tell(self, frame: ClientFrame) -> None:
        """Queue a frame that wants no answer, for the present stream only."""
        self._told.append(frame)

    def forget_told(self) -> None:
        """Drop what was told to a stream that is gone; requests stay."""
        self._told.clear()

    def batch(self, now: float) -> OpenSessionRequest | None:
        """Take what waits: up to 64 frames or 256 KiB, and always at least one frame."""
        message = OpenSessionRequest()
        size = 0
        while len(message.frames) < MAX_FRAMES:
            request = None if self._told else self._requests.peek(now)
            frame = self._told[0] if self._told else request.frame if request else None
            if frame is None:
                break
            size += frame.ByteSize()
            if message.frames and size > MAX_BATCH_BYTES:
                break
            message.frames.append(frame)
            if request is None:
                self._told.popleft()
            else:
                self._requests.sent()
        return message if message.frames else None
