"""What is asked of every request before the page sees it: who sends it, and how much."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pdae_app.limits import BusyError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
API = "/gradio_api/"
UPLOAD = f"{API}upload"
# For containers and balancers: whether this app takes new work.
HEALTH = "/health"
# Of all that Gradio lets others change or start, what the page and its clients use: the first word
# of a path below `API`. Others hand what they are sent to ffmpeg, or edit the program.
USED = frozenset(
    {
        *("upload", "queue", "component_server", "cancel", "reset", "call", "run", "api", "mcp"),
        "stream",  # the next frame of a webcam
    }
)
# What is for those who write apps: a stream that never ends, and figures of the page's use.
CLOSED = (f"{API}dev/", f"{API}monitoring", "/dev/", "/monitoring")
FILES = "multipart/form-data"
# Bytes of a request that is no upload: sliders, a painted layer.
MOST_ELSE = 8 << 20
# Millions of lists are quick to send and slow to read: Gradio goes through all of them several
# times, while everybody waits. Small requests are not looked at, and files have no parts.
SMALL, MOST_PARTS = 1 << 16, 50_000
# Seconds without a byte of a request that is not complete.
PATIENCE = 30

Refusal = tuple[int, str]
NOTHING: Refusal = (404, "There is nothing here.")


@dataclass(frozen=True)
class Rules:
    """`hosts` are the names that the app answers to, None being any; bounds are in bytes.

    `take_room` says whether so many bytes of an upload fit on the disk, and counts them;
    `check_memory` raises `BusyError` where there is no memory for new work; `facts` are told by
    `HEALTH` beside that.
    """

    hosts: frozenset[str] | None = None
    upload: int = 400_000_000
    in_flight: int = 1_000_000_000
    take_room: Callable[[int], bool] = lambda size: True
    check_memory: Callable[[], None] = lambda: None
    facts: Callable[[], dict] = dict


class Guard:
    """Refuses requests for other hosts, from other sites, and of unbounded size.

    A page elsewhere can send requests to an app on the visitor's own machine; with a name that it
    has pointed to 127.0.0.1 (DNS rebinding) it could read the answers too.
    """

    def __init__(self, app: ASGIApp, rules: Rules):
        self.app, self.rules, self.in_flight = app, rules, 0
        self._look: asyncio.Task | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, size = Headers(scope=scope), 0
        refusal = self._stranger(scope["method"], headers)
        if refusal is None and scope["path"].startswith(CLOSED):
            refusal = NOTHING
        if refusal is None and scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            # What ends work makes room.
            if not scope["path"].startswith(f"{API}cancel") and (why := await self._lack()):
                refusal = 503, why
            else:
                size, refusal = self._measured(scope["path"], headers)
        if refusal is not None:
            status, sentence = refusal
            await PlainTextResponse(sentence, status)(scope, receive, _marked(send))
            return
        if scope["path"] == HEALTH:
            await self._health(await self._lack())(scope, receive, _marked(send))
            return
        self.in_flight += size
        try:
            receive = _impatient(receive)
            if size > SMALL and not headers.get("content-type", "").startswith(FILES):
                body = await _whole(receive)
                if _parts(body) > MOST_PARTS:
                    refused = PlainTextResponse("This is too much at once.", 413)
                    await refused(scope, receive, _marked(send))
                    return
                receive = _again(body, receive)
            await self.app(scope, receive, _marked(send))
        except ClientDisconnect:  # an upload was broken off: nobody waits for an answer
            pass
        finally:
            self.in_flight -= size

    async def _lack(self) -> str | None:
        """Why there is no memory for new work; requests that come meanwhile share the answer.

        Memory that is given back takes a while: on a thread, and once for all.
        """
        if self._look is None:
            self._look = asyncio.create_task(self._looked())
        return await asyncio.shield(self._look)

    async def _looked(self) -> str | None:
        try:
            await asyncio.to_thread(self.rules.check_memory)
        except BusyError as error:
            return str(error)
        finally:
            self._look = None
        return None

    def _health(self, lack: str | None) -> JSONResponse:
        """200 where new work is taken, 503 where it is not."""
        if lack:
            return JSONResponse({"ok": False, "why": lack, **self.rules.facts()}, 503)
        return JSONResponse({"ok": True, **self.rules.facts()})

    def _stranger(self, method: str, headers: Headers) -> Refusal | None:
        host, hosts = _name(headers.get("host", "")), self.rules.hosts
        if hosts is not None and host not in hosts:
            return 421, "This app does not answer to that name; see PDAE_HOSTS."
        if method in ("GET", "HEAD", "OPTIONS"):
            return None
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is None and origin is not None:  # browsers say the site on secure pages alone
            same = origin != "null" and urlsplit(origin).netloc == headers.get("host")
            known = hosts is not None and _name(urlsplit(origin).netloc) in hosts - LOOPBACK
            site = "same-origin" if same or known else "cross-site"
        if site in ("cross-site", "same-site"):
            return 403, "This request comes from another site's page, and was refused."
        return None

    def _measured(self, path: str, headers: Headers) -> tuple[int, Refusal | None]:
        if path.removeprefix(API).split("/")[0] not in USED:
            return 0, NOTHING
        given = headers.get("content-length", "0" if _empty(headers) else "")
        if not given.isascii() or not given.isdigit() or len(given) > 18:
            return 0, (411, "Say how long the request is (Content-Length).")
        size, upload = int(given), path.rstrip("/") == UPLOAD
        most = self.rules.upload if upload else MOST_ELSE
        if size > most:
            return size, (413, f"This is too much at once: use at most {most // 1_000_000} MB.")
        if self.in_flight + size > self.rules.in_flight:
            return size, (503, "Too much is being uploaded at this moment. Try again in a minute.")
        if upload and not self.rules.take_room(size):
            return size, (507, "There is no room for more pictures now. Try again later.")
        return size, None


async def _whole(receive: Receive) -> bytes:
    """The body of a request, whose length is known to be bounded.

    Raises:
        ClientDisconnect: it did not come whole.
    """
    chunks, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(chunks)


def _parts(body: bytes) -> int:
    """At least as many as the values in a JSON text."""
    return sum(body.count(mark) for mark in (b"[", b"{", b","))


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read already, and then what comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _empty(headers: Headers) -> bool:
    return "transfer-encoding" not in headers


def _name(netloc: str) -> str:
    """The host without its port, as `urlsplit` reads it; empty where it cannot be read."""
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


def _marked(send: Send) -> Send:
    """Browsers take every answer for what it says it is."""

    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
        await send(message)

    return marked


def _impatient(receive: Receive) -> Receive:
    """Takes a sender who falls silent before the end for one who has left."""
    complete = False

    async def impatient() -> Message:
        nonlocal complete
        if complete:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), PATIENCE)
        except asyncio.TimeoutError:
            return {"type": "http.disconnect"}
        complete = not message.get("more_body", False)
        return message

    return impatient
