"""What every store must do: one suite, run on each adapter."""
