"""The stream of the witness log in NATS JetStream."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, Header, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from infrafabric_server.bus.connection import Connection
from infrafabric_server.store.protocol import StoreUnavailable
from infrafabric_server.witness.stream import Message, Superseded

ResultT = TypeVar("ResultT")
Call = Callable[[JetStreamContext], Coroutine[Any, Any, ResultT]]

# A server that was killed says nothing. An answer that comes later than this is lost, what was
# asked is not: the caller looks.
_TIMEOUT_SECONDS = 2.0
# As servers have it unless told otherwise.
_MAX_PAYLOAD = 1024 * 1024
# Of what a server calls the largest payload, the headers of a message are a part.
_HEADERS = 512
# Codes of errors of JetStream's API.
_STREAM_NOT_FOUND = 10059
_NO_MESSAGE = 10037
_NAME_IN_USE = 10058
_WRONG_LAST_SEQUENCE = (10071, 10164)


class JetStream:
    """The stream of one fabric; see LogStream.

    Its messages can be neither removed nor replaced, and none grows too old: what is appended
    when it is full is refused. Reads are answered by the leader of the stream alone.
    """

    def __init__(
        self, connection: Callable[[], Connection | None], subject: str, *, replicas: int = 1
    ) -> None:
        """Take the connection and the name of the fabric.

        Args:
            connection: returns the present one, None while there is none.
            subject: the fabric's level of subjects: the log is on `<subject>.witness`, in the
                stream `<subject>-witness`.
            replicas: how many servers keep the stream: 1, 3 or 5.
        """
        self._connection = connection
        self._subject = f"{subject}.witness"
        self._name = f"{subject}-witness"
        self._config = StreamConfig(
            name=self._name,
            description="The witness log of an InfraFabric",
            subjects=[self._subject],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,
            max_msgs=-1,
            max_bytes=-1,
            max_age=0,
            num_replicas=replicas,
            deny_delete=True,
            deny_purge=True,
            allow_direct=False,
        )

    @property
    def room(self) -> int:
        """See LogStream."""
        connection = self._connection()
        return (_MAX_PAYLOAD if connection is None else connection.max_payload) - _HEADERS

    async def create(self) -> None:
        """See LogStream; a stream that is kept by another number of servers is changed."""
        try:
            await self._ask(lambda api: api.add_stream(self._config))
        except APIError as error:
            if error.err_code != _NAME_IN_USE:
                raise _unavailable(error) from error
            await self._adapt()

    async def last(self) -> Message | None:
        """See LogStream."""
        try:
            info = await self._ask(lambda api: api.stream_info(self._name))
        except NotFoundError as error:
            if error.err_code == _STREAM_NOT_FOUND:
                return None
            raise _unavailable(error) from error
        except APIError as error:
            raise _unavailable(error) from error
        self._check(info.config)
        return await self.get(info.state.last_seq) if info.state.last_seq else None

    async def get(self, position: int) -> Message | None:
        """See LogStream."""
        try:
            found = await self._ask(lambda api: api.get_msg(self._name, position))
        except APIError as error:
            if error.err_code == _NO_MESSAGE:
                return None
            raise _unavailable(error) from error
        return Message(position, found.data or b"")

    async def append(self, payload: bytes, after: int) -> int:
        """See LogStream."""
        headers = {
            Header.EXPECTED_STREAM.value: self._name,
            Header.EXPECTED_LAST_SEQUENCE.value: str(after),
        }
        try:
            answer = await self._ask(
                lambda api: api.publish(self._subject, payload, headers=headers)
            )
        except APIError as error:
            if error.err_code in _WRONG_LAST_SEQUENCE:
                raise Superseded(f"message {after} is not the last one any more") from error
            raise _unavailable(error) from error
        if answer.seq != after + 1:
            raise StoreUnavailable(
                f"JetStream put message {after + 1} of {self._name} at {answer.seq}: something"
                " else takes messages of its subject, or the stream was made anew"
            )
        return answer.seq

    async def _adapt(self) -> None:
        try:
            info = await self._ask(lambda api: api.stream_info(self._name))
            self._check(info.config)
            if info.config.num_replicas != self._config.num_replicas:
                wanted = info.config.evolve(num_replicas=self._config.num_replicas)
                await self._ask(lambda api: api.update_stream(wanted))
        except APIError as error:
            raise _unavailable(error) from error

    def _check(self, config: StreamConfig) -> None:
        """Raise StoreUnavailable for a stream that may lose messages, or is of something else."""
        wanted = self._config
        rules = {
            "subjects": (config.subjects, wanted.subjects),
            "retention": (config.retention, RetentionPolicy.LIMITS.value),
            "storage": (config.storage, StorageType.FILE.value),
            "discard": (config.discard, DiscardPolicy.NEW.value),
            "max_age": (config.max_age, 0),
            "max_msgs_per_subject": (config.max_msgs_per_subject, -1),
            "deny_delete": (config.deny_delete, True),
            "deny_purge": (config.deny_purge, True),
            "allow_rollup_hdrs": (config.allow_rollup_hdrs, False),
            "allow_msg_ttl": (config.allow_msg_ttl or False, False),
            "no_ack": (config.no_ack, False),
            "persist_mode": (config.persist_mode or "default", "default"),
        }
        wrong = [
            f"{name} is {found!r} and must be {rule!r}"
            for name, (found, rule) in rules.items()
            if found != rule
        ]
        if wrong:
            raise StoreUnavailable(
                f"the stream {self._name} is not safe for the witness log: {'; '.join(wrong)}"
            )

    async def _ask(
        self, call: Callable[[JetStreamContext], Coroutine[Any, Any, ResultT]]
    ) -> ResultT:
        connection = self._connection()
        if connection is None:
            raise StoreUnavailable("there is no connection to NATS")
        answer = asyncio.ensure_future(call(connection.jetstream(timeout=_TIMEOUT_SECONDS)))
        ended = asyncio.ensure_future(connection.ended.wait())
        try:
            # nats-py lets the caller wait, also when no answer can come any more.
            await asyncio.wait((answer, ended), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise StoreUnavailable("the connection to NATS was lost")
            return answer.result()
        except APIError:
            raise
        except (Error, OSError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise StoreUnavailable(f"JetStream did not answer: {reason}") from error
        finally:
            answer.cancel()
            ended.cancel()
            await asyncio.gather(answer, ended, return_exceptions=True)


def _unavailable(error: APIError) -> StoreUnavailable:
    return StoreUnavailable(f"JetStream refuses: {error.description} ({error.err_code})")
