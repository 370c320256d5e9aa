"""The servers that a run is about: one with its embedded store, or several on etcd and NATS."""
