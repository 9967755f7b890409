"""python3 -m speedtest_logger."""

import sys

from speedtest_logger.cli import main

sys.exit(main())
