"""What tests of the dashboard share: somebody who may log in, and a clock that a test sets."""

from __future__ import annotations

from speedtest_logger.dashboard import users

PASSWORD = "four horses in a boat"
# as cheap as is taken: tests look at many
HASH = str(users.Hash.of(PASSWORD, (users.COST, users.BLOCK, 1)))
HOME = "http://127.0.0.1:8000"


class Clock:
    """Time that a test sets."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time."""
        return self.now
