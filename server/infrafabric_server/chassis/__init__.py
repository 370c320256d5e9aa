"""Foreign code in a box, and what every swarm is worth by what it has done."""
