"""The calls of the chassis."""
