"""IF.optimise: what the work costs, on what it was spent, and what of it was wasted."""
