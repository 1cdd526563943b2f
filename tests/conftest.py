"""Shared by all tests: laws are checked however slow the machine is, and a training leaves the allocator alone."""

import os
import signal

from hypothesis import settings

os.environ.setdefault("TRITON_INTERPRET", "1")  # before anything imports triton, which reads it once
os.environ.setdefault("GRAFTABLE_MALLOC", "default")  # else peaks of memory would depend on which test came before
settings.register_profile("graftable", deadline=None, print_blob=True)
settings.load_profile("graftable")
# a shell lets its background jobs ignore Ctrl-C, and the commands under test would inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)
