"""Joining models: structure inside a decoder, co-activation graphs, Gromov-Wasserstein, teacher caches."""
