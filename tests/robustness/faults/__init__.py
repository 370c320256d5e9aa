"""What is done to the servers and to what they need, each with its undoing."""
