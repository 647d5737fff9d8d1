"""What a serving process tunes: the same values, and a collector that still collects."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mtenant_chassis.tuning import read_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
SPACE = st.text(" \n\r\t", max_size=3)


@given(value=VALUES, before=SPACE, after=SPACE)
def test_a_json_text_is_read_as_by_the_standard_library(
    value: Any, before: str, after: str
) -> None:
    for ascii_only in (True, False):
        text = before + json.dumps(value, ensure_ascii=ascii_only) + after
        if "\\ud" not in text and not any("\ud800" <= mark <= "\udfff" for mark in text):
            assert read_json(text.encode()) == json.loads(text.encode())
        assert read_json(text) == json.loads(text)


PROGRAM = """
import gc, json, sys, weakref
import psycopg
from mtenant_chassis.tuning import tune

class Ring:
    pass

tune()
ring = Ring()
ring.me = ring
gone = weakref.ref(ring)
del ring
kept = []
for number in range(30_000):
    kept.append([number])
assert gone() is None, "the collector did not come"
with psycopg.connect(sys.argv[1]) as conn:
    query = "select '{\\"a\\": 12345678901234567890}'::jsonb, ' [1.5]  '::json, 'null'::jsonb"
    print(json.dumps(conn.execute(query).fetchone()))
"""


def test_a_tuned_process_reads_what_the_server_sends_and_leaves_no_ring_behind(
    postgres_dsn: str,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, postgres_dsn], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [{"a": 12345678901234567890}, [1.5], None]
