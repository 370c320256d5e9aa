"""Generated from the contract in proto/infrafabric/v1 (make generate)."""
