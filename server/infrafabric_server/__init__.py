"""The InfraFabric server: the control plane for a fleet of parallel agent sessions."""
