"""What the service does for a guest."""

from typing import Protocol


class CallDenied(Exception):
    """The guest may not make this call: its task ends with a violation."""


class CallFailed(Exception):
    """The call was not done; the guest is given the message, and goes on."""


class HostFailed(Exception):
    """The service itself failed in the call: the task ends, and the message says why."""


class HostCalls(Protocol):
    """What answers the host calls of one task. The rate is limited before they get here."""

    async def log(self, text: str) -> None:
        """Take a line, of at most 4 KiB."""
        ...

    async def call(self, name: str, body: bytes) -> bytes:
        """Do what a guest asks.

        Args:
            name: of the call, up to 255 bytes.
            body: the request, up to 1 MiB less the name.

        Returns:
            The answer, up to 1 MiB.

        Raises:
            CallDenied: the guest may not make this call.
            CallFailed: it could not be done.
            HostFailed: the service has an error of its own.
        """
        ...


class NoCalls:
    """Grants nothing, and forgets what is logged."""

    async def log(self, text: str) -> None:
        """Forget a line."""

    async def call(self, name: str, body: bytes) -> bytes:
        """Deny a call."""
        del body
        raise CallDenied(name)
