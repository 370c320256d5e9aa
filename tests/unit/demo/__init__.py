"""Tests of the demonstration's own parts."""
