"""Tests of scratch space."""
