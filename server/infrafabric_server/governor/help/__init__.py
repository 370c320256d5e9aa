"""Ganging up on a blocker: a request for help, from its offers to its end."""
