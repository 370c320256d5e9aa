"""The ways in which a guest ends before it returns; they pass through its frames as exceptions."""


class Exit(Exception):
    """It ended itself.

    Args:
        code: its exit code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


class Stop(Exception):
    """It went beyond a limit.

    Args:
        kind: of violation, as the service names it.
        detail: what it did, for a person.
        limit: what it may take, in the unit of the limit.
        observed: what it took.
    """

    def __init__(
        self, kind: str, detail: str, limit: int | None = None, observed: int | None = None
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.limit = limit
        self.observed = observed


class Fault(Exception):
    """It broke the agreement between guest and host."""
