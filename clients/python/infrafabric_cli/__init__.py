"""The command line `infrafabric`: one module for each group of commands."""
