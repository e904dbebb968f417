"""One JSON line a request for the operator (PDAE_LOG=1), without names, addresses or faces."""

import json
import os
import sys
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pdae_app.ui.guard import API, USED

# Paths outside the API that are answered apart; all others are files of the page.
KNOWN = frozenset({"/", "/health", "/config"})


class Logged:
    """Writes what was asked for, what came of it and how long it took, when it is answered."""

    def __init__(self, app: ASGIApp, write: Callable[[str], None]):
        self.app, self.write = app, write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, answered = time.perf_counter(), {"status": 0, "bytes": 0}

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered["status"] = message["status"]
            answered["bytes"] += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, counting)
        finally:
            seconds = round(time.perf_counter() - begun, 3)
            facts = {"time": round(time.time(), 3), "method": scope["method"]}
            facts |= {"what": kind(scope["path"]), **answered, "seconds": seconds}
            self.write(json.dumps(facts))


def kind(path: str) -> str:
    """What a path is for: names of files and sessions, which paths hold too, are left out."""
    if path in KNOWN:
        return path
    word = path.removeprefix(API).split("/")[0] if path.startswith(API) else ""
    return f"{API}{word}" if word in USED else "page"


def to_stderr(line: str) -> None:
    """A line of the log, at once."""
    print(line, file=sys.stderr, flush=True)


def wanted() -> bool:
    """Whether the operator asked for a log."""
    return os.environ.get("PDAE_LOG") == "1"
