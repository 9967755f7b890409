"""python3 -m speedtest_logger.dashboard."""

import sys

from speedtest_logger.dashboard.cli import main

sys.exit(main())
