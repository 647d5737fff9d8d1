"""Records of other libraries: by the standard logging and by loguru, in the same stream."""

import logging
import tempfile
from pathlib import Path

import loguru

from mtenant_logger import LoggerConfig, configure, get_logger

configure(LoggerConfig("contact-service"))
get_logger("contact_service").info("ours", n=1)
logging.getLogger("psycopg.pool").warning("a library's %s", "record", extra={"n": 2})
loguru.logger.bind(n=3).success("made through loguru")

# One more destination is one more sink of loguru's; it gets all of them, redacted.
with tempfile.TemporaryDirectory() as directory:
    file = Path(directory) / "contact-service.log"
    sink = loguru.logger.add(file, rotation="10 MB", format="{level} {name} {message}")
    get_logger("contact_service").info("to both", password="never written")  # noqa: S106  # no real one
    loguru.logger.remove(sink)
    assert file.read_text(encoding="utf-8") == "INFO contact_service to both\n"
