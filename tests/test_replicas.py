"""Two apps behind the balancer of docs/security.md: every visitor stays with one of them."""

import http.client
import json
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from pdae_app.ui.session import EXAMPLES
from tests.running import PATIENCE, ROOT, free_port, running_app

# Addresses of visitors: too many to fall to one replica by chance.
VISITORS = [f"127.0.0.{number}" for number in range(1, 25)]
EDITING = VISITORS[:6]


@contextmanager
def balanced(folder, addresses):
    """The port of an nginx with the documentation's balancer before these apps."""
    text = (ROOT / "docs" / "security.md").read_text()
    upstream = re.search(r"```nginx\n(upstream .*?)```", text, re.S)[1]
    for number, address in enumerate(addresses, 1):
        assert f"10.0.0.{number}:7860" in upstream
        upstream = upstream.replace(f"10.0.0.{number}:7860", urlsplit(address).netloc)
    port, kinds = free_port(), ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    place = "proxy_pass http://replicas; proxy_set_header Host $http_host; proxy_buffering off;"
    server = f"server {{ listen 127.0.0.1:{port}; location / {{ {place} }} }}"
    conf = (
        f"daemon off; pid {folder}/pid; error_log {folder}/errors;\n"
        f"events {{}}\nhttp {{ access_log off; {temporary}{upstream}{server} }}\n"
    )
    (folder / "conf").write_text(conf)
    with subprocess.Popen(["nginx", "-e", folder / "errors", "-c", folder / "conf"]) as nginx:
        try:
            wait_for(port, nginx, folder / "errors")
            yield port
        finally:
            nginx.terminate()


def wait_for(port, nginx, errors):
    while nginx.poll() is None:
        try:
            return asked(port, VISITORS[0], "GET", "/health").read()
        except ConnectionRefusedError:
            time.sleep(0.1)
    pytest.fail(errors.read_text())


@pytest.fixture(scope="module")
def port(tiny_folder, tmp_path_factory):
    if not shutil.which("nginx"):
        pytest.skip("no nginx: apt-get install nginx-light")
    folder = tmp_path_factory.mktemp("replicas")
    folder.parent.chmod(0o755)  # nginx gives up its rights, and must find the way
    folder.chmod(0o777)
    model = ("--model", tiny_folder)
    with (
        running_app(*model) as first,
        running_app(*model) as second,
        balanced(folder, [first, second]) as port,
    ):
        yield port


def asked(port, visitor, method, path, body=None, **headers):
    """An answer of the balancer to a visitor's address."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=PATIENCE / 1000, source_address=(visitor, 0)
    )
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, headers)
    return connection.getresponse()


def uploaded(port, visitor):
    """Where a visitor's photograph lies."""
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    body = head + EXAMPLES[0].read_bytes() + b"\r\n--x--\r\n"
    kind = "multipart/form-data; boundary=x"
    answer = asked(port, visitor, "POST", "/gradio_api/upload", body, Content_Type=kind)
    assert answer.status == 200, answer.read()
    return json.loads(answer.read())[0]


def edited(port, visitor, path):
    """How an edit of that photograph ends."""
    config = json.loads(asked(port, visitor, "GET", "/config").read())
    number = next(d["id"] for d in config["dependencies"] if d["api_name"] == "edit")
    picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
    data = [picture, {"Smiling": 1.0}, 1, "Fast", 1, True, "", None]
    wish = json.dumps({"data": data, "fn_index": number, "session_hash": visitor})
    kind = {"Content_Type": "application/json"}
    joined = asked(port, visitor, "POST", "/gradio_api/queue/join", wish, **kind)
    assert joined.status == 200, joined.read()
    stream = asked(port, visitor, "GET", f"/gradio_api/queue/data?session_hash={visitor}")
    for line in stream:
        held = json.loads(line[6:]) if line.startswith(b"data: ") else {}
        if held.get("msg") == "process_completed":
            return held["success"]
    return None


def test_every_visitor_stays_with_one_of_two_replicas(port):
    places = {visitor: uploaded(port, visitor) for visitor in VISITORS}
    assert len({Path(path).parents[1] for path in places.values()}) == 2  # both have work
    for visitor in EDITING:
        path = places[visitor]
        assert edited(port, visitor, path)
        file = asked(port, visitor, "GET", f"/gradio_api/file={quote(path)}")
        assert file.read() == EXAMPLES[0].read_bytes()
