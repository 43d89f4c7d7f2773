"""Training: one loop, with its settings, its hold-out and its history, for all that is learned."""
