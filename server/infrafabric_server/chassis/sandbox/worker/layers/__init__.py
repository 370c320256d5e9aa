"""What holds a worker, one module for each kind, and the order in which they are put on."""
