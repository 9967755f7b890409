"""python3 -m speedtest_logger."""

import sys

from speedtest_logger.node.cli import main

sys.exit(main())
