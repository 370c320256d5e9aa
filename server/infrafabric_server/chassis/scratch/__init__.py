"""Scratch space of tasks: what an attempt notes for itself, and for the attempts after it."""
