"""Endpoints of credentials and contracts: protobuf messages as values, and back."""

from infrafabric.v1 import chassis_credential_pb2 as pb
from infrafabric_server.chassis.credentials.models import MAX_PREFIX, METHODS, Endpoint
from infrafabric_server.chassis.credentials.urls import Target, read
from infrafabric_server.errors import FieldViolation, InvalidField

_METHOD_RULE = f"must be of {', '.join(METHODS)}"


def read_endpoint(field: str, message: pb.CredentialEndpoint) -> Endpoint:
    """Return where requests may go, or raise InvalidField."""
    target = read_target(f"{field}.url", message.url)
    if target.query:
        raise InvalidField(FieldViolation(f"{field}.url", "must have no query"))
    if len(target.path) > MAX_PREFIX:
        rule = f"must have a path of at most {MAX_PREFIX} characters"
        raise InvalidField(FieldViolation(f"{field}.url", rule))
    methods = sorted({read_method(f"{field}.methods", each) for each in message.methods})
    if not methods:
        raise InvalidField(FieldViolation(f"{field}.methods", _METHOD_RULE))
    return Endpoint(
        scheme=target.scheme,
        host=target.host,
        port=target.port,
        path=target.path,
        methods=tuple(methods),
    )


def read_target(field: str, url: str) -> Target:
    """Return what a request goes to, or raise InvalidField."""
    try:
        return read(url)
    except ValueError as error:
        raise InvalidField(FieldViolation(field, str(error))) from None


def read_method(field: str, method: str) -> str:
    """Return a method, or raise InvalidField."""
    if method not in METHODS:
        raise InvalidField(FieldViolation(field, _METHOD_RULE))
    return method


def endpoint_to_wire(endpoint: Endpoint) -> pb.CredentialEndpoint:
    """Return where requests may go as a message."""
    return pb.CredentialEndpoint(url=endpoint.url, methods=endpoint.methods)
