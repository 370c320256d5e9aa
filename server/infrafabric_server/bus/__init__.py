"""The port to news between replicas, and its adapters."""
