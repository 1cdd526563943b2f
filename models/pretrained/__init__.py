"""Weights that ship with the package, one folder per model (safetensors, config.json, model card)."""
