"""Figures about the witness log, for Prometheus."""

from prometheus_client import CollectorRegistry, Gauge

from infrafabric_server.witness.log_copy import LogCopy
from infrafabric_server.witness.sealer import Sealer
from infrafabric_server.witness.tail import Tail


def show(registry: CollectorRegistry, sealer: Sealer, tail: Tail, copy: LogCopy | None) -> None:
    """Show how long the outbox is, how long the log, and how far the copy is behind."""
    Gauge(
        "infrafabric_witness_outbox_entries",
        "Decisions that wait to be written to the witness log.",
        registry=registry,
    ).set_function(lambda: len(sealer))
    Gauge(
        "infrafabric_witness_sequence",
        "The last entry of the witness log that this server can show.",
        registry=registry,
    ).set_function(lambda: tail.sequence)
    if copy is None:
        return
    Gauge(
        "infrafabric_witness_copy_lag_entries",
        "Entries that are in the witness log and not in this server's copy yet.",
        registry=registry,
    ).set_function(lambda: copy.lag)
    Gauge(
        "infrafabric_witness_copy_broken",
        "1 when this server's copy does not follow from the witness log, so that it stopped.",
        registry=registry,
    ).set_function(lambda: copy.broken)
