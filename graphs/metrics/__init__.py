"""How far generated graphs are from real ones: MMD, validity, controllability."""
