"""Who is there: swarms, sessions, presence."""
