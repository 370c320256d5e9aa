"""Moves a whole fabric: into a file, out of one, and from one kind of store to another."""
