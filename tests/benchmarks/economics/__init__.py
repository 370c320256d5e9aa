"""What a day of work costs, by who decides which swarm gets which task."""
