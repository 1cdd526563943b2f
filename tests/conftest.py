"""Shared by all tests: laws are checked however slow the machine is."""

from hypothesis import settings

settings.register_profile("graftable", deadline=None, print_blob=True)
settings.load_profile("graftable")
