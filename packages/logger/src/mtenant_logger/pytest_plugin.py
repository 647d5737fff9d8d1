"""The fixture `recorded_logs`, for `pytest_plugins = ["mtenant_logger.pytest_plugin"]`.

Or, in any conftest.py: `from mtenant_logger.pytest_plugin import recorded_logs`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mtenant_logger import testing


@pytest.fixture
def recorded_logs() -> Iterator[testing.Recorder]:
    """Keep what every `get_logger` logs during the test; see `testing.assert_logged`."""
    with testing.recorded_logs() as recorder:
        yield recorder
