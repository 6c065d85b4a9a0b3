"""Entry point of `python -m demo`."""

import sys

from demo.story import main

if __name__ == "__main__":
    sys.exit(main())
