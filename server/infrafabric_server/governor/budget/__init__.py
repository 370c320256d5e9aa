"""What accounts may still spend, and what claims have reserved of it."""
