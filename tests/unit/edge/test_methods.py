from infrafabric.v1 import (
    chassis_service_pb2,
    coordinator_service_pb2,
    governor_service_pb2,
    notify_service_pb2,
    witness_service_pb2,
)
from infrafabric_server.edge.methods import MUTATING, READ_ONLY

MODULES = (
    chassis_service_pb2,
    coordinator_service_pb2,
    governor_service_pb2,
    notify_service_pb2,
    witness_service_pb2,
)


def test_every_call_of_the_contract_is_either_reading_or_changing() -> None:
    declared = {
        f"/{service.full_name}/{method.name}"
        for module in MODULES
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert len(declared) > 25
    assert declared == READ_ONLY | MUTATING
    assert not READ_ONLY & MUTATING
