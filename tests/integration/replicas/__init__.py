"""Several servers of one fabric: what clients see when one of them ends, or hangs."""
