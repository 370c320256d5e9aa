"""The governor: which swarm is right for which task."""
