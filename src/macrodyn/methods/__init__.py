"""Methods: how the macroscopic dynamics is learned. Each has a room of its own."""
