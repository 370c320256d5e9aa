"""Work is claimed once and pushed at once."""
