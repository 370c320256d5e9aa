"""One scenario for every client library, with its stream cut at every kind of frame."""
