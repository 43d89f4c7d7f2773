"""What several systems share: streams of random numbers, spins, integrators."""
