from prometheus_client import CollectorRegistry

from infrafabric_server.bus.local import Hub, LocalBus
from infrafabric_server.edge.bus_metrics import BusMetrics


async def test_figures_of_a_bus_are_those_of_the_moment() -> None:
    registry = CollectorRegistry()
    bus = LocalBus(Hub())
    BusMetrics(bus, registry)
    assert registry.get_sample_value("infrafabric_bus_connected") == 1
    bus.publish("s", b"x")
    await bus.close()
    bus.publish("s", b"x")
    fates = {
        fate: registry.get_sample_value("infrafabric_bus_messages_total", {"fate": fate})
        for fate in ("sent", "dropped", "received", "missed")
    }
    assert fates == {"sent": 1, "dropped": 1, "received": 0, "missed": 0}
    assert registry.get_sample_value("infrafabric_bus_connected") == 0
