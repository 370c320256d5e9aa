"""The judge: a program apart that computes the summary from what the run left behind.

It reads the sessions' own append-only journals and the exported witness log, talks to no
server and imports neither the server nor the clients.
"""
