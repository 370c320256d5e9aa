"""Tests of the circuit breakers."""
