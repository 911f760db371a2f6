"""`python -m backend.api` is the engine process."""

from __future__ import annotations

import sys

from backend.api.process import main

if __name__ == "__main__":
    sys.exit(main())
