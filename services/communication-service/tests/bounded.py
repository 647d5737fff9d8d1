"""Check templates, read as JSON, under limits of the system: ten seconds of processor, 400 MiB of memory."""

from __future__ import annotations

import json
import resource
import sys

from communication_service.domain.template import Source, Variable, check, render

resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
resource.setrlimit(resource.RLIMIT_AS, (400 * 1024 * 1024,) * 2)

found = []
for text in json.load(sys.stdin):
    source = Source("s", text, None, [Variable(name="a")])
    try:
        check(source)
        found.append(f"{len(render(source, {'a': 'x'}).text)}")
    except Exception as exc:
        found.append(type(exc).__name__)
print(json.dumps(found))
