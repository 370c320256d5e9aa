"""The InfraFabric server: coordination, governance and evidence for swarms of agents."""
