"""The other process. It imports nothing of the server but its own package and the frames."""
