"""Calls that no page sends: whatever an endpoint is given, its answer is a sentence or a result.

The app that answers may leave no traceback in its log (`tests.running`).
"""

import io
import json
import random
import urllib.error
import urllib.request
import uuid

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from pdae_app.ui.checked_inputs import NOT_FETCHED, NOT_UPLOADED, UNFIT
from pdae_app.ui.session import EXAMPLES
from tests.fuzz.mutations import changed_bytes, hostile
from tests.fuzz.subjects import slider_files
from tests.test_api import upload


def answer(address, name, data):
    """The last event of a call's stream, its kind and what it holds."""
    url, kind = f"{address}/gradio_api/call/{name}", {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps({"data": data}).encode(), kind)
    with urllib.request.urlopen(request) as begun:
        event = json.loads(begun.read())["event_id"]
    with urllib.request.urlopen(f"{url}/{event}") as stream:
        *_, last, held = [line for line in stream.read().decode().splitlines() if line]
    return last.removeprefix("event: "), json.loads(held.removeprefix("data: "))


def sentence_of(address, name, data):
    kind, held = answer(address, name, data)
    assert kind == "error" and held["error"], held
    return held["error"]


def file(path, **more):
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


@pytest.fixture(scope="module")
def inputs(address):
    """Of every endpoint its inputs, all but the first as they are when they are left out."""
    with urllib.request.urlopen(f"{address}/gradio_api/info") as answered:
        facts = json.loads(answered.read())["named_endpoints"]
    return {
        name[1:]: [parameter.get("parameter_default") for parameter in known["parameters"]]
        for name, known in facts.items()
    }


SENT = {
    "never uploaded": (file("/tmp/nowhere/x.png"), NOT_UPLOADED),
    "the server's own": (file("/etc/passwd"), NOT_UPLOADED),
    "a way up": (file("../../etc/passwd"), NOT_UPLOADED),
    "a folder": (file("/tmp"), NOT_UPLOADED),
    "a very long path": (file("/" + "a" * 5000), None),
    "a path with an end in it": (file("/tmp/\0x"), None),
    "an address": (file("http://example.org/x.png"), NOT_FETCHED),
    "an address of this machine": (file("http://127.0.0.1:1/x", url="http://127.0.0.1/"), None),
    "a file's address": (file("x", url="file:///etc/passwd"), NOT_UPLOADED),
    "a path by itself": ("/etc/passwd", None),
    "a number": (7, None),
    "a path of numbers": (file(5), None),
    "no path": (file(None), None),
    "an object": ({}, None),
}


@pytest.mark.parametrize("name", SENT)
def test_what_is_no_uploaded_file_gets_a_sentence(address, inputs, name):
    """Gradio alone answers `"error": null`, with a traceback in the log."""
    sent, message = SENT[name]
    for endpoint in ("encode", "looks"):
        said = sentence_of(address, endpoint, [sent, *inputs[endpoint][1:]])
        assert message in (None, said)
    listed = sentence_of(address, "batch", [[sent], {"Smiling": 1}, *inputs["batch"][2:]])
    assert message in (None, listed) and "/etc/passwd" not in listed


def test_every_input_of_every_endpoint_may_be_a_file_that_is_not_here(address, inputs):
    for endpoint, values in inputs.items():
        for place in range(len(values)):
            sent = [*values[:place], file("/etc/passwd"), *values[place + 1 :]]
            assert sentence_of(address, endpoint, sent) == NOT_UPLOADED


def test_too_few_inputs_get_a_sentence(address, inputs):
    assert {sentence_of(address, name, []) for name in inputs} == {UNFIT}


@pytest.fixture(scope="module")
def client(address):
    return Client(address, verbose=False)


def asked(client, *data, **more):
    """Whether a call had a result; else its sentence is not empty, and no traceback."""
    try:
        client.predict(*data, **more)
    except AppError as error:
        said = str(error)
        assert 10 < len(said) < 3000 and "Traceback" not in said and "upstream" not in said, said
        return False
    return True


@pytest.mark.parametrize("seed", range(8))
def test_damaged_photographs_of_iphones(client, tmp_path, seed):
    whole, chance = io.BytesIO(), random.Random(seed)
    Image.open(EXAMPLES[0]).resize((160, 160)).save(whole, "HEIF", quality=80)
    path = tmp_path / "a.heic"
    path.write_bytes(changed_bytes(whole.getvalue(), chance))
    asked(client, handle_file(path), api_name="/encode")


HOSTILE_CALLS = {
    "looks, quality": ("/looks", {"quality": 1}),
    "looks, face": ("/looks", {"face": 10**9}),
    "looks, model": ("/looks", {"model": "../x"}),
    "borrow, attributes by number": ("/borrow", {"attributes": 5}),
    "borrow, unknown attribute": ("/borrow", {"attributes": ["Wings"]}),
    "borrow, names in names": ("/borrow", {"attributes": [["Smiling"]]}),
    "borrow, a thousand": ("/borrow", {"attributes": ["a" * 50] * 1000}),
    "directions, kind": ("/directions", {"kind": "<script>"}),
    "directions, kind a list": ("/directions", {"kind": ["principal"]}),
    "directions, many": ("/directions", {"count": 10**9}),
    "directions, none": ("/directions", {"count": 0}),
    "directions, half": ("/directions", {"count": 1.5}),
    "directions, model": ("/directions", {"model": "/etc"}),
}


@pytest.mark.parametrize("name", HOSTILE_CALLS)
def test_hostile_calls_of_new_endpoints_get_a_sentence(client, name):
    endpoint, arguments = HOSTILE_CALLS[name]
    photos = {"/looks": ("photo",), "/borrow": ("photo", "other"), "/directions": ()}[endpoint]
    given = {which: handle_file(EXAMPLES[0]) for which in photos}
    assert not asked(client, **given, **arguments, api_name=endpoint)


@pytest.mark.parametrize("seed", range(8))
def test_random_arguments_of_new_endpoints(address, seed):
    """Whatever stands in their place: a result, as where nothing stands, or a sentence."""
    chance = random.Random(seed)
    (path,) = upload(address, "a.jpg", EXAMPLES[0].read_bytes())
    for name, data in (
        ("directions", [hostile(chance), hostile(chance), ""]),
        ("borrow", [file(path), file(path), hostile(chance), 1, False, ""]),
        ("looks", [file(path), hostile(chance), hostile(chance), hostile(chance), ""]),
    ):
        kind, held = answer(address, name, data)
        assert kind == "complete" or held["error"]


def loaded_on_the_page(address, data, chosen="own-load"):
    """What the page's own event answers that loads a slider's file: None, or why it cannot."""
    with urllib.request.urlopen(f"{address}/config") as answered:
        config = json.loads(answered.read())
    ids = {part["id"] for part in config["components"] if part["props"].get("elem_id") == chosen}
    events = config["dependencies"]
    (number,) = {event["id"] for event in events for target in event["targets"] if target[0] in ids}
    (path,) = upload(address, "a.safetensors", data)
    sent = {"data": [None, file(path)], "fn_index": number, "session_hash": uuid.uuid4().hex}
    url, kind = f"{address}/gradio_api/run/predict", {"Content-Type": "application/json"}
    try:
        urllib.request.urlopen(urllib.request.Request(url, json.dumps(sent).encode(), kind)).close()
    except urllib.error.HTTPError as refused:
        return json.loads(refused.read())["error"]
    return None


def test_crafted_slider_files_are_a_sentence_on_the_page(address, editor, tmp_path):
    sliders = slider_files(editor, tmp_path / "s")
    assert loaded_on_the_page(address, (tmp_path / "s" / "grin.safetensors").read_bytes()) is None
    said = [loaded_on_the_page(address, sliders.make(random.Random(seed))) for seed in range(30)]
    refused = [sentence for sentence in said if sentence is not None]
    assert len(refused) > 20 and all(10 < len(sentence) < 3000 for sentence in refused)
