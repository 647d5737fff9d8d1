"""What a process that serves does otherwise than Python and psycopg do by default."""

from __future__ import annotations

import gc
import json
from typing import Any, Final

from psycopg.types.json import set_json_loads

_DECODER: Final = json.JSONDecoder()


def tune() -> None:
    """Make this process one that serves; call it once it is ready to.

    A request makes some thousand objects, which end with it. At its own thresholds the collector goes
    through those of all running requests several times a request, which is a tenth of the time; and
    through what was made at the start as well.

    `json.loads` guesses the encoding of each value and looks for white space around it; PostgreSQL
    answers in the one that the connection has, without any.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    set_json_loads(read_json)


def read_json(data: bytes | str) -> Any:
    """Return the value of a JSON text that the server has checked, in UTF-8 unless it is a `str`."""
    text = data if isinstance(data, str) else data.decode()
    return _DECODER.raw_decode(text.lstrip())[0]  # the type json keeps white space, jsonb has none
