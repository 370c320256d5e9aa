"""Ganging up on a blocker: who asks, who is asked, who helps, and who pays."""
