"""Run the command as ``python -m graftable``."""

import sys

from graftable.cli import main

sys.exit(main())
