"""python3 -m packages build|proof|release."""

import sys

from packages.cli import main

sys.exit(main(sys.argv[1:]))
