"""What the errors of etcd mean: a table from code and text to what we do."""

from enum import Enum

import grpc

from infrafabric_server.store.protocol import (
    LeaseNotFound,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)


class Verdict(Enum):
    """What an error tells of the request.

    UNKNOWN: it may have been carried out. All others: it was not, and AGAIN can be sent
    again, LOGIN after authenticating anew.
    """

    UNKNOWN = "unknown"
    AGAIN = "again"
    LOGIN = "login"
    NO_LEASE = "no lease"
    LEASE_EXISTS = "lease exists"
    COMPACTED = "compacted"
    FUTURE = "future"
    FULL = "full"
    TOO_MANY = "too many operations"
    TOO_LARGE = "too large"
    DENIED = "denied"
    BAD = "bad"


# etcd has no codes of its own: its texts are its interface (api/v3rpc/rpctypes/error.go), and
# the first that an error contains decides.
_TEXTS = (
    ("requested lease not found", Verdict.NO_LEASE),
    ("lease already exists", Verdict.LEASE_EXISTS),
    ("required revision has been compacted", Verdict.COMPACTED),
    ("required revision is a future revision", Verdict.FUTURE),
    ("database space exceeded", Verdict.FULL),
    ("too many operations in txn request", Verdict.TOO_MANY),
    ("request is too large", Verdict.TOO_LARGE),
    ("received message larger than max", Verdict.TOO_LARGE),
    ("too many requests", Verdict.AGAIN),
    ("invalid auth token", Verdict.LOGIN),
    ("user name is empty", Verdict.LOGIN),
    ("revision of auth store is old", Verdict.LOGIN),
    ("permission denied", Verdict.DENIED),
    ("authentication failed", Verdict.DENIED),
    ("authentication is not enabled", Verdict.DENIED),
)
# Codes with which nothing was carried out, whatever the text.
_REFUSALS = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNIMPLEMENTED,
)


def verdict(error: grpc.RpcError) -> Verdict:
    """Return what `error` tells of its request."""
    code, details = code_of(error), details_of(error)
    for text, meaning in _TEXTS:
        if text in details:
            return meaning
    return Verdict.BAD if code in _REFUSALS else Verdict.UNKNOWN


def store_error(error: grpc.RpcError) -> StoreError:
    """Return what a caller of the store is told."""
    details = details_of(error)
    match verdict(error):
        case Verdict.NO_LEASE:
            return LeaseNotFound("a lease of the transaction expired or was revoked")
        case Verdict.FULL:
            return StoreFull(
                "etcd is at its quota: compact and defragment it, then disarm its NOSPACE alarm, "
                "or start it with a larger --quota-backend-bytes"
            )
        case Verdict.TOO_MANY:
            return StoreError(
                "the transaction has more operations than etcd takes: start every member with "
                "--max-txn-ops=8400, which is enough for each transaction of a fabric"
            )
        case Verdict.TOO_LARGE:
            return StoreError(
                "the transaction has more bytes than etcd takes: start every member with a "
                "larger --max-request-bytes, such as 16777216"
            )
        case Verdict.DENIED | Verdict.LOGIN:
            return denied(details)
        case Verdict.BAD:
            return StoreError(f"etcd refused a request: {details}")
        case _:
            code = code_of(error)
            return StoreUnavailable(f"etcd did not answer: {code.name if code else ''} {details}")


def denied(details: str) -> StoreDenied:
    """Return what a caller is told whose user or certificate etcd does not let do something."""
    return StoreDenied(
        f"etcd denies our user or certificate what a fabric needs: {details}; see to its password, "
        "its roles, and that it is the user whom the server is told to be"
    )


def code_of(error: grpc.RpcError) -> grpc.StatusCode | None:
    """Return the error's code."""
    return error.code() if isinstance(error, grpc.aio.AioRpcError | grpc.Call) else None


def details_of(error: grpc.RpcError) -> str:
    """Return the error's text."""
    return str(error.details() if isinstance(error, grpc.aio.AioRpcError | grpc.Call) else error)
