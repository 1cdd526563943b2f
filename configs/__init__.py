"""Experiments as commented YAML files, each with a debug twin; read them with `graftable configs`."""
