"""Python client of InfraFabric: sessions, tasks and status over gRPC."""
