"""The methods of etcd that are called, with their paths and messages."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message
from grpc import aio

from infrafabric_server.store.etcd.address import Access, EtcdAddress
from infrafabric_server.store.etcd.wire import etcd_pb2 as pb

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Method(Generic[RequestT, ResponseT]):
    """One method: its path, and the message that it answers with."""

    path: str
    request: type[RequestT]
    response: type[ResponseT]

    def encode(self, message: RequestT) -> bytes:
        """Return the message as it travels."""
        return message.SerializeToString()

    @property
    def decode(self) -> Callable[[bytes], ResponseT]:
        """Reads an answer."""
        return self.response.FromString


RANGE = Method("/etcdserverpb.KV/Range", pb.RangeRequest, pb.RangeResponse)
PUT = Method("/etcdserverpb.KV/Put", pb.PutRequest, pb.PutResponse)
TXN = Method("/etcdserverpb.KV/Txn", pb.TxnRequest, pb.TxnResponse)
COMPACT = Method("/etcdserverpb.KV/Compact", pb.CompactionRequest, pb.CompactionResponse)
WATCH = Method("/etcdserverpb.Watch/Watch", pb.WatchRequest, pb.WatchResponse)
GRANT = Method("/etcdserverpb.Lease/LeaseGrant", pb.LeaseGrantRequest, pb.LeaseGrantResponse)
REVOKE = Method("/etcdserverpb.Lease/LeaseRevoke", pb.LeaseRevokeRequest, pb.LeaseRevokeResponse)
RENEW = Method(
    "/etcdserverpb.Lease/LeaseKeepAlive", pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse
)
TIME_TO_LIVE = Method(
    "/etcdserverpb.Lease/LeaseTimeToLive", pb.LeaseTimeToLiveRequest, pb.LeaseTimeToLiveResponse
)
AUTHENTICATE = Method(
    "/etcdserverpb.Auth/Authenticate", pb.AuthenticateRequest, pb.AuthenticateResponse
)
STATUS = Method("/etcdserverpb.Maintenance/Status", pb.StatusRequest, pb.StatusResponse)
ALARM = Method("/etcdserverpb.Maintenance/Alarm", pb.AlarmRequest, pb.AlarmResponse)
MEMBER_LIST = Method(
    "/etcdserverpb.Cluster/MemberList", pb.MemberListRequest, pb.MemberListResponse
)

# etcd ends connections that ping more often than each 5 s (--grpc-keepalive-min-time); a
# member that stopped without closing its connections is noticed within 9 s.
_PING_MS = 6_000
_PING_TIMEOUT_MS = 3_000
_OPTIONS: tuple[tuple[str, Any], ...] = (
    # A call that gRPC repeats by itself would be a second one to us.
    ("grpc.enable_retries", 0),
    # Answers are bounded by the pages and batches that are asked for, not by gRPC's 4 MiB.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", _PING_MS),
    # The keepalive timeout of gRPC is never applied (grpc/grpc#39239): that of pings is.
    ("grpc.http2.ping_timeout_ms", _PING_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


def _credentials(access: Access) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(access.ca, access.key, access.certificate)


def aio_channel(address: EtcdAddress, access: Access, endpoint: str) -> aio.Channel:
    """Return a channel to one member for the event loop."""
    if address.tls:
        return aio.secure_channel(endpoint, _credentials(access), options=_OPTIONS)
    return aio.insecure_channel(endpoint, options=_OPTIONS)


def thread_channel(address: EtcdAddress, access: Access, endpoint: str) -> grpc.Channel:
    """Return a channel to one member for a thread."""
    if address.tls:
        return grpc.secure_channel(endpoint, _credentials(access), options=_OPTIONS)
    return grpc.insecure_channel(endpoint, options=_OPTIONS)
