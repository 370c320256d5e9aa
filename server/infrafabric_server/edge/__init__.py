"""What every way in shares: translation, validation and the gRPC server. It decides nothing."""
