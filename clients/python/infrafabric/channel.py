"""How the client connects."""

import grpc

from infrafabric import backoff

# A stream may be silent for hours; a ping tells whether its server still runs. A server that is
# stopped, or out of reach without a word, is noticed after both times together: within the
# deadline of a call, and long before a lease of the usual length ends.
PING_SECONDS = 4.0
PING_TIMEOUT_SECONDS = 4.0

# A handshake takes a few round trips; a lost packet is sent again after a second.
CONNECT_SECONDS = 2.0

# A server's answers are pages of at most 3 MiB; gRPC's own limit is 4 MiB.
_OPTIONS = (
    # Channels of one process share connections and their backoff unless told otherwise; a
    # session that connects again must not wait for what another one met.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.keepalive_time_ms", round(PING_SECONDS * 1000)),
    # gRPC's keepalive timeout is never applied (grpc/grpc#39239): that of pings is.
    ("grpc.http2.ping_timeout_ms", round(PING_TIMEOUT_SECONDS * 1000)),
    # Whoever watches sends nothing, and pings all the same.
    ("grpc.http2.max_pings_without_data", 0),
    # Under this name it is how long one attempt to connect may take.
    ("grpc.min_reconnect_backoff_ms", round(CONNECT_SECONDS * 1000)),
    ("grpc.initial_reconnect_backoff_ms", round(backoff.INITIAL_SECONDS * 1000)),
    ("grpc.max_reconnect_backoff_ms", round(backoff.LONGEST_SECONDS * 1000)),
)


def open_channel(address: str) -> grpc.aio.Channel:
    """Return a plaintext channel; it connects on first use.

    Args:
        address: `host:port`, or any other name that gRPC resolves.
    """
    return grpc.aio.insecure_channel(address, options=_OPTIONS)
