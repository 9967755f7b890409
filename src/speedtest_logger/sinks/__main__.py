"""`python3 -m speedtest_logger.sinks`."""

import sys

from speedtest_logger.sinks.cli import main

sys.exit(main())
