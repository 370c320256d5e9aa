"""A box for foreign WebAssembly: processes of its own under every limit that the system offers.

It knows nothing of the fabric. Others use `compiler`, `warm_module` and `probe`. What is under
`worker` runs in the other process, which starts quickly and small because it imports nothing else
of the server.
"""
