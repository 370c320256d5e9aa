"""Figures about calls, for Prometheus."""

from grpc import StatusCode
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# From a tenth of what an idle server takes to what only a broken one takes.
_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)


class Meter:
    """Figures of one method."""

    def __init__(self, calls: Counter, seconds: Histogram, streams: Gauge, method: str) -> None:
        self._calls = calls
        self._method = method
        self._by_code: dict[StatusCode, Counter] = {}
        self._seconds = seconds.labels(method)
        self._streams = streams.labels(method)

    def unary_ended(self, code: StatusCode, seconds: float) -> None:
        """Count a call that took `seconds`."""
        self._count(code)
        self._seconds.observe(seconds)

    def stream_began(self) -> None:
        """Count a stream as open."""
        self._streams.inc()

    def stream_ended(self, code: StatusCode) -> None:
        """Count a stream as ended; how long it was open tells nothing about the server."""
        self._count(code)
        self._streams.dec()

    def _count(self, code: StatusCode) -> None:
        # Finding the child by its labels would take as long as all the rest.
        counter = self._by_code.get(code)
        if counter is None:
            counter = self._by_code[code] = self._calls.labels(self._method, code.name)
        counter.inc()


class CallMetrics:
    """The metrics of a server, one Meter for each method."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "infrafabric_grpc_calls",
            "Calls and streams that ended, by method and status code.",
            ("method", "code"),
            registry=registry,
        )
        self._seconds = Histogram(
            "infrafabric_grpc_call_seconds",
            "Time from a unary call's arrival at its handler to its answer.",
            ("method",),
            registry=registry,
            buckets=_BUCKETS,
        )
        self._streams = Gauge(
            "infrafabric_grpc_open_streams",
            "Streams that are open now.",
            ("method",),
            registry=registry,
        )

    def meter(self, method: str) -> Meter:
        """Return the figures of `method`, such as `infrafabric.v1.WitnessService/TailEntries`."""
        return Meter(self._calls, self._seconds, self._streams, method)
