"""`python3 -m speedtest_logger.alerts`."""

import sys

from speedtest_logger.alerts.cli import main

sys.exit(main())
