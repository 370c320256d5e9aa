"""Tests of who is there, who leads, and what time it is."""
