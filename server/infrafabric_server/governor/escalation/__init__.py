"""What needs a person: one record per incident, raised until somebody takes care of it."""
