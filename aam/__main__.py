"""`python -m aam` is `aam`."""

from __future__ import annotations

import sys

from aam.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
