"""``python -m macrodyn``: the same as the command ``macrodyn``."""

from __future__ import annotations

import sys

from macrodyn.cli import main

sys.exit(main())
