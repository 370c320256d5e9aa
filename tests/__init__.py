"""Tests of InfraFabric; a package, so that its programs run as `python -m tests.<name>`."""
