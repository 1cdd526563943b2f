"""Graphs as data: generation, metrics, families, conversion, a bundled corpus; a graph is a PyG ``Data``."""
