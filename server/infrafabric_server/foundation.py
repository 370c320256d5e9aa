"""What the components of one server have in common."""

from dataclasses import dataclass

from infrafabric_server.clock import Clock
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.leadership import Leadership
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import Store
from infrafabric_server.witness.flood import Flood
from infrafabric_server.witness.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Foundation:
    """What every component is built on; only the `build` modules know it as a whole.

    `replica` is the name of this process among those that share the store. Components declare
    their views at `mirror` before it starts. `outbox` takes the witness entry of one decision,
    `flood` counts those that may come by the thousand.
    """

    replica: str
    store: Store
    mirror: Mirror
    fleet: Fleet
    clock: Clock
    leadership: Leadership
    outbox: Outbox
    flood: Flood
