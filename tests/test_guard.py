"""What a running app asks of requests and connections."""

import asyncio
import http.client
import json
import socket
import threading
import time
import urllib.request
from urllib.parse import urlsplit

import pytest
import uvicorn

from pdae_app.limits import BusyError, LimitError, Limits
from pdae_app.memory import resident_mb, usable_mb
from pdae_app.ui import connections
from pdae_app.ui.app import answered_hosts
from pdae_app.ui.guard import LOOPBACK, MOST_ELSE, Guard, Rules
from pdae_app.ui.log import Logged


def asked(address, path="/", method="GET", body=None, **headers):
    """Status, headers and text of an answer; names of headers with _ for -."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read().decode()


@pytest.mark.parametrize("host", ["evil.com", "127.0.0.1.evil.com", "", "[", "evil.com:7860"])
def test_a_page_elsewhere_cannot_read_a_local_app(address, host):
    """DNS rebinding: its own name points to 127.0.0.1."""
    for path in ("/", "/config", "/gradio_api/info"):
        status, _, text = asked(address, path, Host=host)
        assert status == 421 and "does not answer to that name" in text


def test_the_own_names_are_answered(address):
    port = urlsplit(address).port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", "LOCALHOST"):
        status, headers, _ = asked(address, "/config", Host=host)
        assert status == 200 and headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "http://evil.com"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
    ],
    ids=str,
)
def test_requests_of_other_sites_are_refused(address, headers):
    for path in ("/gradio_api/upload", "/gradio_api/queue/join"):
        status, _, text = asked(address, path, "POST", b"{}", **headers)
        assert status == 403 and "another site" in text


@pytest.mark.parametrize("path", ["/gradio_api/dev/reload", "/monitoring", "/monitoring/x"])
def test_doors_for_those_who_write_apps_are_closed(path):
    """The first held a connection for ever, and looked for changes twenty times a second."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    asyncio.run(Guard(answer, Rules())(scope, nothing, send))
    assert sent[0]["status"] == 404


def test_requests_have_bounds(address):
    path = "/gradio_api/component_server"
    large = {"Content_Length": str(MOST_ELSE + 1)}
    assert asked(address, path, "POST", None, **large)[0] == 413
    assert asked(address, "/gradio_api/upload", "POST", None, Content_Length=str(10**12))[0] == 413
    for wrong in ("many", "-5"):
        # h11 itself refuses what is no number
        assert asked(address, path, "POST", None, Content_Length=wrong)[0] in (400, 411)
    chunked = asked(address, path, "POST", iter([b"{}"]), Transfer_Encoding="chunked")
    assert chunked[0] == 411


def test_no_list_of_the_server_grows_to_an_index(address):
    """Gradio's own canvas lengthened a list to any index: 152 MB a request."""
    config = json.loads(asked(address, "/config")[2])
    canvas = next(c["id"] for c in config["components"] if c["type"] == "imageeditor")
    for index in (10**7, "999999999", 10**300):
        body = {
            "session_hash": "a",
            "component_id": canvas,
            "fn_name": "accept_blobs",
            "data": {"data": {"type": "layer", "id": "x", "index": index}, "files": [["a", "b"]]},
        }
        status = asked(
            address,
            "/gradio_api/component_server",
            "POST",
            json.dumps(body),
            Content_Type="application/json",
        )[0]
        assert status == 200


@pytest.mark.parametrize("start", [b"[", b'{"session_hash": "a", "fn_index": 0, "data": ['])
def test_millions_of_lists_hold_nobody_up(address, start):
    """Two million in 8 MB: they were gone through again and again, while nobody had an answer."""
    body = start + b"[]," * (2 << 20) + b"[]]" + b"}" * start.startswith(b"{")
    begun = time.monotonic()
    path = "/gradio_api/queue/join"
    status, _, text = asked(address, path, "POST", body, Content_Type="application/json")
    assert status == 413 and "too much at once" in text
    assert asked(address, "/config")[0] == 200
    assert time.monotonic() - begun < 20


def test_long_requests_of_few_parts_arrive_whole(address):
    body = b'{"session_hash": "' + b"a" * (1 << 20) + b'"}'
    status, _, text = asked(
        address, "/gradio_api/queue/join", "POST", body, Content_Type="application/json"
    )
    assert status == 422 and '"data"' in text  # what is missing, of a body that was read


def guarded(rules, size, path="/gradio_api/upload"):
    """The status of a request of so many bytes, and what the guard still counts of it."""
    guard, sent = Guard(answer, rules), []
    headers = [(b"content-length", str(size).encode()), (b"host", b"x")]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}

    async def send(message):
        sent.append(message)

    asyncio.run(guard(scope, nothing, send))
    return sent[0]["status"], guard.in_flight


async def answer(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def nothing():
    return {"type": "http.request", "body": b"", "more_body": False}


def test_uploads_are_refused_where_there_is_no_room():
    assert guarded(Rules(), 1000) == (200, 0)
    assert guarded(Rules(upload=999), 1000)[0] == 413
    assert guarded(Rules(in_flight=999), 1000)[0] == 503
    assert guarded(Rules(take_room=lambda size: size < 1000), 1000)[0] == 507


def test_a_request_that_waits_for_memory_holds_up_no_other():
    """Giving memory back took the event loop: the page stood still with every refusal."""
    looked, go_on = [], threading.Event()

    def look():
        looked.append(threading.current_thread())
        assert go_on.wait(10)
        raise BusyError("no memory")

    guard = Guard(answer, Rules(check_memory=look))

    async def status(method):
        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": method, "path": "/gradio_api/upload"}
        await guard(scope | {"headers": [(b"content-length", b"9")]}, nothing, send)
        return sent[0]["status"]

    async def three():
        waiting = [asyncio.create_task(status("POST")) for _ in range(2)]
        while not looked:
            await asyncio.sleep(0)
        assert await status("GET") == 200
        go_on.set()
        assert await asyncio.gather(*waiting) == [503, 503]

    asyncio.run(three())
    assert len(looked) == 1 and looked[0] is not threading.main_thread()


def test_a_sender_who_falls_silent_has_left(monkeypatch):
    monkeypatch.setattr("pdae_app.ui.guard.PATIENCE", 0.05)
    heard = []

    async def app(scope, receive, send):
        heard.append(await receive())

    async def silent():
        await asyncio.sleep(60)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    asyncio.run(Guard(app, Rules())(scope, silent, None))
    assert heard == [{"type": "http.disconnect"}]


def test_which_names_are_answered():
    assert answered_hosts("127.0.0.1", "") == LOOPBACK
    assert answered_hosts("0.0.0.0", "") is None
    assert answered_hosts("127.0.0.1", "Faces.example.org") == LOOPBACK | {"faces.example.org"}
    assert answered_hosts("0.0.0.0", "a.org") == LOOPBACK | {"a.org"}


@pytest.fixture
def server(monkeypatch):
    """A tiny server with our protocol, in a hurry."""
    monkeypatch.setattr(connections, "PATIENCE", 0.3)
    monkeypatch.setattr(connections, "MOST", 20)
    config = uvicorn.Config(
        answer, "127.0.0.1", 0, http=connections.PatientProtocol, log_level="error"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()
    server.should_exit = True
    thread.join()


def test_servers_speak_our_protocol_from_the_first_connection_on(monkeypatch):
    """Set after its start, it left those for ever who came while the page was being put up."""
    monkeypatch.setitem(uvicorn.config.HTTP_PROTOCOLS, "auto", "none")
    connections.be_patient()
    config = uvicorn.Config(answer)
    config.load()
    assert config.http_protocol_class is connections.PatientProtocol


def test_the_app_closes_half_open_connections(address):
    with socket.create_connection((urlsplit(address).hostname, urlsplit(address).port)) as waiting:
        waiting.sendall(b"GET / HT")
        assert closed(waiting, 2.5 * connections.PATIENCE)


def closed(connection, seconds=3):
    connection.settimeout(seconds)
    try:
        while connection.recv(1000):  # what is left of an answer
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_half_open_connections_are_closed(server, begun):
    with socket.create_connection(server) as connection:
        connection.sendall(begun)
        assert closed(connection)


def test_a_second_half_request_is_closed_too(server):
    with socket.create_connection(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET / HT")
        assert closed(connection)


def test_there_are_only_so_many_connections(server):
    held = [socket.create_connection(server) for _ in range(20)]
    time.sleep(0.05)
    with socket.create_connection(server) as connection:
        assert closed(connection, 0.2)
    for connection in held:
        connection.close()


def test_limits_come_from_the_environment():
    assert Limits.of({}).pixels == 25_000_000
    assert Limits.of({"PDAE_MEGAPIXELS": "2", "PDAE_SESSIONS": "5"}) == Limits(2, sessions=5)
    for value in ("many", "-1", "0", "nan", "inf"):
        with pytest.raises(LimitError, match="PDAE_MEMORY_MB must be a number above 0"):
            Limits.of({"PDAE_MEMORY_MB": value})


def test_new_work_is_refused_beyond_the_memory_limit():
    if not resident_mb():
        pytest.skip("this system does not say how much memory a process takes")
    Limits().check_memory()
    Limits().check_start()
    with pytest.raises(BusyError, match="no memory left"):
        Limits(memory_mb=1).check_memory()
    with pytest.raises(BusyError, match="no memory left"):
        Limits().check_memory(needed_mb=Limits().memory_mb)
    with pytest.raises(LimitError, match="PDAE_MEMORY_MB allows 1"):
        Limits(memory_mb=1).check_start()


def test_a_request_is_refused_where_no_memory_is_left():
    def full():
        raise BusyError("no memory left")

    assert guarded(Rules(check_memory=full), 10, "/gradio_api/queue/join")[0] == 503


def system(root, groups, **files):
    """What a made-up /proc and /sys, with such files of control groups, let a process use."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "meminfo").write_text("MemTotal:       8000000 kB\nMemFree: 1 kB\n")
    (root / "proc" / "self" / "cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return usable_mb(str(root))


def test_the_memory_limit_is_of_the_machine_or_its_container(tmp_path):
    machine = 0.75 * 8_192
    version_2 = {"a/memory.max": "2000000000\n", "a/b/memory.max": "max\n"}
    version_1 = {"memory/memory.limit_in_bytes": "1000000000\n"}
    huge = {"memory/x/memory.limit_in_bytes": "9223372036854771712\n"}
    assert system(tmp_path / "1", "0::/\n") == pytest.approx(machine)
    assert system(tmp_path / "2", "0::/a/b\n", **version_2) == pytest.approx(1500)
    assert system(tmp_path / "3", "4:cpu,memory:/docker/1\n", **version_1) == pytest.approx(750)
    assert system(tmp_path / "4", "4:memory:/x\n0::/\n", **huge) == pytest.approx(machine)
    assert usable_mb(str(tmp_path / "nothing")) == float("inf")


@pytest.mark.parametrize("path", ["process_recording", "vibe-edit", "../login", "anything"])
def test_what_the_page_does_not_need_of_gradio_is_not_there(address, path):
    """A recording would be given to ffmpeg, however long it takes."""
    assert asked(address, f"/gradio_api/{path}", "POST", b"x")[0] == 404


def test_health_says_whether_new_work_is_taken(address):
    with urllib.request.urlopen(f"{address.rstrip('/')}/health") as answer:
        facts = json.load(answer)
    assert facts["ok"] and facts["memory_mb"] > 100 and facts["version"]


def test_health_is_503_where_no_memory_is_left():
    def full():
        raise BusyError("no memory left")

    status, body = asyncio.run(answer_to(Guard(None, Rules(check_memory=full)), "/health"))
    assert status == 503 and json.loads(body) == {"ok": False, "why": "no memory left"}


def test_the_log_has_a_line_a_request_and_no_names():
    async def page(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"12345"})

    lines = []
    for path in ("/health", "/gradio_api/file=/tmp/anna.jpg", "/gradio_api/queue/data", "/a/anna"):
        asyncio.run(answer_to(Logged(page, lines.append), path))
    told = [json.loads(line) for line in lines]
    assert [line["what"] for line in told] == ["/health", "page", "/gradio_api/queue", "page"]
    assert {line["status"] for line in told} == {200} and told[0]["bytes"] == 5
    assert "anna" not in "".join(lines)


async def answer_to(app, path):
    """Status and body of a GET."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    await app({"type": "http", "method": "GET", "path": path, "headers": []}, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)
