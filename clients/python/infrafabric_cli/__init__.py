"""The command line `infrafabric`: one module for each group of commands."""

import os

# gRPC's own lines would come between those of the server's log, which are JSON, and of the
# commands; both say themselves what went wrong. gRPC reads it once, when it is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
