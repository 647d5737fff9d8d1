"""What a program logs is part of what it does, and can be tested as such."""

from mtenant_logger import get_logger
from mtenant_logger.testing import RecordingLogger, assert_logged, recorded_logs

log = get_logger("shop")  # as a module has it


def sell(pieces: int) -> None:
    """Do what is to be tested."""
    log.info("sold", pieces=pieces)


# With pytest this is the fixture `recorded_logs` of mtenant_logger.pytest_plugin.
with recorded_logs() as logs:
    sell(3)
record = assert_logged(logs, "sold", level="info", pieces=3)
print(record["timestamp"], "was recorded, not written")

# Where a logger is passed in, pass one that remembers.
given = RecordingLogger()
given.bind(tenant="acme").error("failed", err=ValueError("no"))
assert given.records[0]["error"]["type"] == "ValueError"
