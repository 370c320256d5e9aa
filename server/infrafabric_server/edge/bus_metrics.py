"""Figures about the news between replicas, for Prometheus."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from infrafabric_server.bus.protocol import Bus


class BusMetrics(Collector):
    """Shows what became of a bus's messages, and whether it has a connection."""

    def __init__(self, bus: Bus, registry: CollectorRegistry) -> None:
        self._bus = bus
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Return the figures as they are now."""
        counts = self._bus.counts
        messages = CounterMetricFamily(
            "infrafabric_bus_messages",
            "Messages between replicas, by what became of them.",
            labels=("fate",),
        )
        for fate in ("sent", "dropped", "received", "missed"):
            messages.add_metric((fate,), getattr(counts, fate))
        yield messages
        connections = "Connections to the bus that were made."
        yield CounterMetricFamily(
            "infrafabric_bus_connections", connections, value=counts.connections
        )
        connected = "1 while there is a connection to the bus."
        yield GaugeMetricFamily(
            "infrafabric_bus_connected", connected, value=float(self._bus.connected)
        )
