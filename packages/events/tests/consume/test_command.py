"""`mtenant-events dlq`, as a process."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

from mtenant_events.event import Event
from mtenant_events.subscriptions import Subscriptions

Run = subprocess.CompletedProcess[str]


def test_letters_are_listed_shown_replayed_and_dropped(place: Any) -> None:
    def run(*arguments: str) -> Run:
        config = place.config
        return subprocess.run(
            [sys.executable, "-m", "mtenant_events", "dlq", *arguments],
            env={
                **{key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ},
                "NATS_URL": config.url.reveal(),
                "NATS_STREAM": config.stream,
                "NATS_DEAD_LETTER_STREAM": config.dead_letter_stream,
                "NATS_SUBJECT_PREFIX": config.prefix,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    async def main() -> None:
        subs, calls = Subscriptions(), []

        @subs.on("deal.won", name="bad", max_attempts=1)
        async def bad(event: Event[Any]) -> None:
            calls.append(event)
            if len(calls) <= 3:
                raise ValueError("no \x1b[31m such deal")

        async with place.open() as bus:
            assert (await asyncio.to_thread(run, "list")).stdout == "no dead letters\n"
            bus.include(subs, service="svc")
            for tenant in ("acme", "other", "other"):
                await bus.publish(place.event(f"of {tenant}", tenant=tenant))
            await place.until(lambda: len(calls) == 3)
            await place.settled()

            listed = await asyncio.to_thread(run, "list", "--json")
            letters = json.loads(listed.stdout)
            assert [one["tenant"] for one in letters] == ["acme", "other", "other"]
            table = await asyncio.to_thread(run, "list", "--tenant", "other", "--limit", "1")
            assert "svc__bad" in table.stdout
            assert "acme" not in table.stdout
            assert f"--after {letters[1]['id']}" in table.stdout

            shown = await asyncio.to_thread(run, "show", str(letters[0]["id"]))
            assert "of acme" in shown.stdout
            assert "\x1b" not in shown.stdout
            whole = await asyncio.to_thread(run, "show", str(letters[0]["id"]), "--json")
            assert json.loads(json.loads(whole.stdout)["body"])["data"] == {"deal": "of acme"}

            replayed = await asyncio.to_thread(run, "replay", str(letters[0]["id"]))
            assert replayed.stdout == f"replayed {letters[0]['id']}\n"
            await place.until(lambda: len(calls) == 4)
            assert calls[3].data == {"deal": "of acme"}

            again = await asyncio.to_thread(run, "replay", str(letters[0]["id"]))
            assert again.returncode == 1
            assert "DEAD_LETTER_NOT_FOUND" in again.stderr

            dropped = await asyncio.to_thread(run, "drop", str(letters[1]["id"]))
            assert dropped.returncode == 0
            rest = await asyncio.to_thread(run, "replay", "--all", "--consumer", "svc__bad")
            assert rest.stdout == f"replayed {letters[2]['id']}\n"
            await place.until(lambda: len(calls) == 5)
            assert await place.dead() == []

            for wrong in (["replay"], ["drop", "--tenant", "acme"], ["show", "x"], ["show", "0"]):
                assert (await asyncio.to_thread(run, *wrong)).returncode == 2
            for refused in (["list", "--tenant", "*"], ["list", "--consumer", "*"]):
                done = await asyncio.to_thread(run, *refused)
                assert done.returncode == 1
                assert "Traceback" not in done.stderr

    asyncio.run(main())
