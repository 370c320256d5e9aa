"""Traffic from many clients under faults, its history, and the model that judges it."""
