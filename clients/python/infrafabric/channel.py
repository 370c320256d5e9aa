"""How the client connects."""

import grpc

# A server's answers are pages of at most 3 MiB; gRPC's own limit is 4 MiB.
_OPTIONS = (
    # Channels of one process share connections and their backoff unless told otherwise; a
    # session that connects again must not wait for what another one met.
    ("grpc.use_local_subchannel_pool", 1),
)


def open_channel(target: str) -> grpc.aio.Channel:
    """Return a plaintext channel; it connects on first use.

    Args:
        target: `host:port`, or any other name that gRPC resolves.
    """
    return grpc.aio.insecure_channel(target, options=_OPTIONS)
