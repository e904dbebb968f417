"""The reverse proxy of docs/security.md, as it stands there, before a running app."""

import http.client
import json
import re
import shutil
import ssl
import subprocess
import time
from urllib.parse import urlsplit

import pytest

from pdae_app.ui.session import EXAMPLES
from tests.running import ROOT, chromium, free_port, running_app

HOST = "faces.example.org"


def example(folder, port, app):
    """The example with ports, certificates and places of its own."""
    text = (ROOT / "docs" / "security.md").read_text()
    server = re.search(r"```nginx\n(.*?)```", text, re.S)[1]
    for old, new in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/letsencrypt/live/faces.example.org/fullchain.pem", f"{folder}/cert.pem"),
        ("/etc/letsencrypt/live/faces.example.org/privkey.pem", f"{folder}/key.pem"),
        ("127.0.0.1:7860", app),
    ):
        assert old in server
        server = server.replace(old, new)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    return (
        f"daemon off; pid {folder}/pid; error_log {folder}/errors;\n"
        f"events {{}}\nhttp {{ access_log off;\n{temporary}{server}}}\n"
    )


@pytest.fixture(scope="module")
def proxy(tiny_folder, tmp_path_factory):
    """The port of an nginx with the documentation's example, before an app of its own."""
    if not shutil.which("nginx") or not shutil.which("openssl"):
        pytest.skip("no nginx: apt-get install nginx-light")
    folder, port = tmp_path_factory.mktemp("proxy"), free_port()
    folder.parent.chmod(0o755)  # nginx gives up its rights, and must find the way
    folder.chmod(0o777)
    subject = ["-subj", f"/CN={HOST}", "-days", "1", "-nodes", "-newkey", "rsa:2048"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(["openssl", "req", "-x509", *subject, *files], check=True, capture_output=True)
    with running_app("--model", tiny_folder, PDAE_HOSTS=HOST) as address:
        (folder / "conf").write_text(example(folder, port, urlsplit(address).netloc))
        with subprocess.Popen(["nginx", "-e", folder / "errors", "-c", folder / "conf"]) as nginx:
            time.sleep(1)
            assert nginx.poll() is None, (folder / "errors").read_text()
            yield port
            nginx.terminate()


def asked(port, method, path, body=None, host=HOST, **headers):
    """The answer of the proxy, as a browser asks."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, {"Host": host, **headers})
    return connection.getresponse()


def test_the_page_is_there_under_its_own_name(proxy):
    answer = asked(proxy, "GET", "/config")
    assert answer.status == 200
    config = json.loads(answer.read())
    assert config["root"] == f"https://{HOST}"  # its links lead back to the proxy


def uploaded(port):
    """The app's path of a photograph that went through the proxy."""
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    body = head + EXAMPLES[0].read_bytes() + b"\r\n--x--\r\n"
    origin = {"Origin": f"https://{HOST}", "Sec_Fetch_Site": "same-origin"}
    kind = "multipart/form-data; boundary=x"
    answer = asked(port, "POST", "/gradio_api/upload", body, Content_Type=kind, **origin)
    assert answer.status == 200
    return json.loads(answer.read())[0]


def test_a_photograph_is_edited_and_previews_come_as_they_are_made(proxy):
    picture = {"path": uploaded(proxy), "meta": {"_type": "gradio.FileData"}}
    data = [picture, {"Smiling": 1.0}, 1, "Best", 1, True, "", None]
    config = json.loads(asked(proxy, "GET", "/config").read())
    number = next(d["id"] for d in config["dependencies"] if d["api_name"] == "edit")
    wish = {"data": data, "fn_index": number, "session_hash": "s"}
    joined = asked(
        proxy, "POST", "/gradio_api/queue/join", json.dumps(wish), Content_Type="application/json"
    )
    assert joined.status == 200
    stream = asked(proxy, "GET", "/gradio_api/queue/data?session_hash=s")
    came = []
    while not came or came[-1][1] != "process_completed":
        line = stream.readline().decode()
        if line.startswith("data: "):
            came.append((time.monotonic(), json.loads(line[6:])["msg"], line))
    previews = [at for at, kind, _ in came if kind == "process_generating"]
    assert previews and previews[0] < came[-1][0] - 0.02
    url = re.findall(r'"url": ?"([^"]*edited\.png)"', " ".join(line for *_, line in came))[-1]
    assert url.startswith(f"https://{HOST}/")
    assert asked(proxy, "GET", urlsplit(url).path).read().startswith(b"\x89PNG")


def test_what_is_too_large_is_refused_by_the_proxy(proxy):
    size = str(401 * 1024 * 1024)
    assert asked(proxy, "POST", "/gradio_api/upload", b"", Content_Length=size).status == 413


def test_other_sites_are_refused_behind_the_proxy_too(proxy):
    assert asked(proxy, "GET", "/config", host="evil.com").status == 421
    answer = asked(proxy, "POST", "/gradio_api/queue/join", b"{}", Origin="https://evil.com")
    assert answer.status == 403


def test_a_browser_gets_the_whole_page(proxy, driver):
    """A page has many files, and the example allows only so many requests at once."""
    with chromium(driver, ignore_https_errors=True) as browser:
        page, answers = browser.new_page(), []
        page.set_default_timeout(60_000)
        page.on("response", lambda answer: answers.append((answer.status, answer.url)))
        page.goto(f"https://localhost:{proxy}/")
        page.wait_for_selector("#photo")
        page.wait_for_load_state("load")
    assert len(answers) > 20
    assert not [answer for answer in answers if answer[0] >= 400]
