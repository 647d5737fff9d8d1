"""Give a program of your own the servers it reads from its environment."""

import os
import sys

from mtenant_devstack import Stack

PROGRAM = "import os; print(os.environ['DATABASE_URL'], os.environ['NATS_URL'])"

with Stack(["postgres", "nats"]) as stack:
    stack.run([sys.executable, "-c", PROGRAM], env={**os.environ, **stack.urls}, seconds=30)
    print((stack.directory / "run.log").read_text(), end="")
