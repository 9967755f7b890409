"""Every error that this package raises on purpose, and the exit code that each one means."""

from __future__ import annotations

from pathlib import Path

EXIT_OK = 0
EXIT_UNHEALTHY = 1
EXIT_USAGE = 2
EXIT_FAILED_MEASUREMENT = 3
EXIT_DELIVERY = 4
EXIT_STORAGE = 5
EXIT_REFUSED = 6
EXIT_NO_ACCESS = 7


class SpeedtestError(Exception):
    """Base of all errors here; the text is written for the person who runs the machine."""

    exit_code = EXIT_UNHEALTHY


class ConfigError(SpeedtestError):
    """The settings are wrong; `problems` names every one of them."""

    exit_code = EXIT_USAGE

    def __init__(self, problems: list[str]) -> None:
        super().__init__("the configuration has problems:\n" + "\n".join(f"  - {problem}" for problem in problems))
        self.problems = problems


class UsageError(SpeedtestError):
    """What was asked for cannot be done as it was asked; the text says what to ask instead."""

    exit_code = EXIT_USAGE


class RecordError(SpeedtestError):
    """A row is no valid record; `reason` is one word for machines, the text says which column and value."""

    exit_code = EXIT_REFUSED

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class EngineError(SpeedtestError):
    """An engine gave no result; `reason` is one of record.REASONS."""

    exit_code = EXIT_FAILED_MEASUREMENT

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ProbeError(SpeedtestError):
    """A probe gave no answer; `reason` is one of probe_result.REASONS."""

    exit_code = EXIT_FAILED_MEASUREMENT

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class DeliveryError(SpeedtestError):
    """The archive could not be reached or gave no valid receipt; the outbox is untouched."""

    exit_code = EXIT_DELIVERY


class NoAccessError(SpeedtestError):
    """A file is there and this account may not open it."""

    exit_code = EXIT_NO_ACCESS

    def __init__(self, file: object, doing: str = "open") -> None:
        super().__init__(f"cannot {doing} {file} as this account: run this with sudo")


class StorageError(SpeedtestError):
    """A disk said no: full, read-only or broken."""

    exit_code = EXIT_STORAGE


class NotReadyError(StorageError):
    """What is asked for is being made; the text says how far that is."""


class DamagedFileError(StorageError):
    """A file of the archive cannot be read any more; `file` is its path, `why` what its reader said."""

    def __init__(self, file: Path, why: object) -> None:
        self.file = file
        self.why = str(why)[:200]
        super().__init__(f"{file} cannot be read any more ({self.why}): `speedtest-archive verify` says more")


class RefusedError(SpeedtestError):
    """A whole delivery was refused; `reason` is one word for machines."""

    exit_code = EXIT_REFUSED

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
