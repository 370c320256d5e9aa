"""Circuit breakers: what keeps work from a swarm until a person allows it again."""
