"""`python3 -m speedtest_logger.workbench`."""

import sys

from speedtest_logger.workbench.cli import main

sys.exit(main())
