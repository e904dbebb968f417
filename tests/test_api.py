"""The endpoints with fixed names, against a running app: what they give, and what they refuse."""

import io
import json
import math
import struct
import threading
import urllib.error
import urllib.request
import uuid
import zipfile
import zlib

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from pdae_app import Editor
from pdae_app.engine.aims import averaged, borrowed
from pdae_app.engine.carry_out import edit_photograph
from pdae_app.engine.preset import Preset
from pdae_app.engine.requests import EditRequest
from pdae_app.private_folder import PREFIX
from pdae_app.ui.session import EXAMPLES

SMILE = {"Smiling": 1.0}


@pytest.fixture(scope="module")
def client(address):
    return Client(address, verbose=False)


def photo(number=1):
    return handle_file(EXAMPLES[number])


def test_the_names_and_arguments_are_fixed(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    arguments = {
        name: [parameter["parameter_name"] for parameter in facts["parameters"]]
        for name, facts in endpoints.items()
    }
    where = ["face", "center", "model"]
    assert arguments == {
        "/encode": ["photo", "quality", *where],
        "/edit": ["photo", "sliders", "scale", "quality", *where],
        "/interpolate": ["first", "second", "mode", "frames", "quality", "center", "model"],
        "/generate": [
            "count",
            "seed",
            "scale",
            "unguided",
            "wanted",
            "label",
            "model",
            "quality",
            "variety",
            "temperature",
        ],
        "/batch": ["photos", "sliders", "scale", "quality", "center", "model"],
        "/film": ["film", "sliders", "scale", "kind", "quality", *where],
        "/looks": ["photo", "quality", *where],
        "/borrow": ["photo", "other", "attributes", *where],
        "/average": ["photo", "attributes", *where],
        "/fit_attribute": ["name", "having", "lacking", "model"],
        "/fit_pairs": ["name", "before", "after", "hold", "model"],
        "/fit_numbers": ["name", "pictures", "numbers", "model"],
        "/directions": ["kind", "count", "model"],
    }
    assert all(facts["description"].endswith(".") for facts in endpoints.values())


def test_encode(client, editor):
    square, standings, notices = client.predict(photo(), api_name="/encode")
    assert Image.open(square).size == (16, 16)
    assert set(standings) == set(editor.attributes) and notices == []


def test_edit_yields_previews_then_what_the_engine_makes(client, editor):
    updates = list(client.submit(photo(), SMILE, api_name="/edit"))
    assert [progress["done"] for _, progress in updates] == [False, False, True]
    whole = edit_photograph(editor, EXAMPLES[1], EditRequest(Preset(SMILE)))
    assert Image.open(updates[-1][0]).tobytes() == whole.tobytes()


def test_interpolate(client):
    frames, film = client.predict(
        photo(0), photo(1), frames=4, mode="latent", api_name="/interpolate"
    )
    assert len(frames) == 4 and film.endswith(".mp4")


def test_generate_is_by_seed_whatever_the_count(client):
    three, _ = client.predict(count=3, seed=4, api_name="/generate")
    one, tries = client.predict(count=1, seed=6, api_name="/generate")
    assert tries == [1]
    assert Image.open(three[2]["image"]).tobytes() == Image.open(one[0]["image"]).tobytes()


def test_names_as_the_page_writes_them_and_an_example_of_sliders(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    (sliders,) = (p for p in endpoints["/edit"]["parameters"] if p["parameter_name"] == "sliders")
    assert sliders["example_input"] == {"Smiling": 1.0, "Young": -0.5}
    picture, _ = client.predict(photo(), {"smiling": 1.0}, api_name="/edit")
    assert json.loads(Image.open(picture).info["Description"])["edit"] == {"Smiling": 1.0}


def test_fit_attribute_and_use_it(client, tiny_folder, tmp_path):
    having = [photo(i) for i in range(5)]
    path, score = client.predict("Grin", having, api_name="/fit_attribute")
    assert score["having"] == 5 and score["lacking"] == 0 and score["skipped"] == []
    assert path.endswith("Grin.safetensors")


def test_a_slider_from_pairs_or_numbers(client, tmp_path):
    before, after = [photo(i) for i in range(4)], [photo(i) for i in (1, 2, 3, 4)]
    path, score = client.predict("Light", before, after, ["Smiling"], api_name="/fit_pairs")
    assert path.endswith("Light.safetensors") and score["pairs"] == 4 and score["skipped"] == []
    with pytest.raises(AppError, match="4 pictures before and 3 after"):
        client.predict("Light", before, after[:3], api_name="/fit_pairs")
    files = []
    for number in range(10):
        path = tmp_path / f"person {number}.jpg"
        path.write_bytes(EXAMPLES[number % 6].read_bytes() + bytes(number))
        files.append(handle_file(path))
    numbers = {f"person {number}.jpg": number % 6 for number in range(10)}
    path, score = client.predict("Age", files, numbers, api_name="/fit_numbers")
    assert path.endswith("Age.safetensors") and score["pictures"] == 10
    with pytest.raises(AppError, match="numbers as a JSON object"):
        client.predict("Age", files, {"a.jpg": "old"}, api_name="/fit_numbers")


def test_directions_without_labels(client):
    sliders, scores = client.predict("independent", 3, api_name="/directions")
    assert len(sliders) == 3 and sorted(scores, reverse=True) == scores
    with pytest.raises(AppError, match="no kind 'round'"):
        client.predict("round", api_name="/directions")


def test_looks_another_person_and_the_average_as_sliders(client, editor):
    pictures, looks = client.predict(photo(), api_name="/looks")
    assert [one["caption"] for one in pictures] == ["Serious"] == list(looks)
    code = editor.encode(Image.open(EXAMPLES[1]), 1, iterations=0)
    other = editor.encode(Image.open(EXAMPLES[3]), 1, iterations=0)
    sliders = client.predict(photo(), photo(3), ["smiling"], api_name="/borrow")
    assert sliders == borrowed(editor, code, other, ["Smiling"])
    assert client.predict(photo(), api_name="/average") == averaged(editor, code)
    for call in ("/average", "/borrow"):
        arguments = (photo(),) if call == "/average" else (photo(), photo(3))
        with pytest.raises(AppError, match="no attribute 'Wings'"):
            client.predict(*arguments, ["Wings"], api_name=call)
        with pytest.raises(AppError, match="as a JSON list"):
            client.predict(*arguments, {"Smiling": 1}, api_name=call)


def test_batch(client):
    path, errors = client.predict([photo(0), photo(1)], SMILE, api_name="/batch")
    assert errors == {} and len(zipfile.ZipFile(path).namelist()) == 2


def png(width, height, data=b""):
    """A PNG that claims a size."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [
        chunk(b"IHDR", header),
        chunk(b"IDAT", data or zlib.compress(b"")),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def zip_bomb():
    """A few kilobytes that unpack to a hundred megabytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(100_000_000))
    return buffer.getvalue()


def picture(size, kind="PNG", mode="RGB"):
    buffer = io.BytesIO()
    Image.new(mode, size, 90 if mode == "L" else None).save(buffer, kind)
    return buffer.getvalue()


JPEG = EXAMPLES[0].read_bytes()
NOT_A_PICTURE, DAMAGED = "not a picture that can be read", "damaged or incomplete|not a picture"

BAD_FILES = {
    "a text": (b"not a picture", NOT_A_PICTURE),
    "nothing": (b"", NOT_A_PICTURE),
    "a cut JPEG": (JPEG[:900], DAMAGED),
    "a JPEG with rubbish": (JPEG[:2000] + b"\xff\xd8" * 900, DAMAGED),
    "a PNG without pixels": (png(64, 64), DAMAGED),
    "a PNG of a billion pixels": (png(40_000, 25_000), "too large"),
    "a PNG of 101 million pixels": (png(10_100, 10_000), "too large"),
    "a PNG with a wrong checksum": (png(64, 64)[:-6] + b"123456", DAMAGED),
    "a zip bomb": (zip_bomb(), NOT_A_PICTURE),
    "a PNG bomb": (png(60, 60, zlib.compress(bytes(50_000_000))), "No face|damaged"),
    "an SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>', NOT_A_PICTURE),
    "a page": (b"<!doctype html><html><script>alert(1)</script></html>", NOT_A_PICTURE),
    "a PDF": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", NOT_A_PICTURE),
    "a pickle": (b"\x80\x04\x95cos\nsystem\n", NOT_A_PICTURE),
    "a picture of 8 pixels": (picture((8, 8)), "only 8 x 8"),
    "a picture of one line": (picture((900, 3)), "only 900 x 3"),
    "a wall": (picture((300, 300), "JPEG"), "No face was found"),
    "a wall in grey": (picture((300, 300), "PNG", "L"), "No face was found"),
}
BAD_SLIDERS = {
    "NaN": ('{"Smiling": NaN}', "out of range"),
    "infinity": ('{"Smiling": -Infinity}', "out of range"),
    "too strong": ({"Smiling": 1e9}, "out of range"),
    "a word": ({"Smiling": "very"}, "out of range"),
    "a yes": ({"Smiling": True}, "out of range"),
    "a list in it": ({"Smiling": [1]}, "out of range"),
    "nothing in it": ({"Smiling": None}, "out of range"),
    "unknown": ({"Wings": 1}, "no attribute 'Wings'.*It has: Smiling, Male"),
    "no name": ({"": 1}, "no attribute ''"),
    "a script": ({"<script>alert(1)</script>": 1}, "no attribute"),
    "a thousand": ({f"x{i}": 1 for i in range(1000)}, "and 999 more"),
    "a list": ([1, 2], "as a JSON object"),
    "a number": (7, "as a JSON object"),
    "no JSON": ("{Smiling: 1", "not valid JSON"),
    "very long": (" " * 200_000, "too long"),
    "very deep": ("[" * 50_000, "not valid JSON"),
}
BAD_ARGUMENTS = {
    "scale below": ({"scale": -1}, "scale must be a number from 0 to 10"),
    "scale above": ({"scale": 11}, "scale must be"),
    "scale a word": ({"scale": "a lot"}, "scale must be"),
    "scale a yes": ({"scale": True}, "scale must be"),
    "scale a list": ({"scale": [1]}, "scale must be"),
    "quality unknown": ({"quality": "Ultra"}, "one of Fast, Best"),
    "quality a number": ({"quality": 7}, "one of Fast, Best"),
    "quality a list": ({"quality": []}, "one of Fast, Best"),
    "face zero": ({"face": 0}, "face must be a number from 1"),
    "face a half": ({"face": 1.5}, "face must be a whole number"),
    "face a word": ({"face": "left"}, "face must be"),
    "face that is not there": ({"face": 9}, "no face number 9"),
    "model up a folder": ({"model": "../faces128"}, "not offered here"),
    "model of the Hub": ({"model": "owner/name"}, "not offered here"),
    "model with dots": ({"model": "owner/../name"}, "not offered here"),
    "model a folder": ({"model": "/etc"}, "not offered here"),
    "model a number": ({"model": 5}, "must be a name"),
}
BAD_CALLS = {
    "no photo": ("/edit", (None, SMILE), "Give a picture file"),
    "no second photo": ("/interpolate", (photo(), None), "Give a picture file"),
    "no frames": ("/interpolate", (photo(), photo(), "latent", 1), "frames must be"),
    "many frames": ("/interpolate", (photo(), photo(), "latent", 1000), "frames must be"),
    "unknown mode": ("/interpolate", (photo(), photo(), "sideways"), "no mode 'sideways'"),
    "no pictures": ("/generate", (0,), "count must be"),
    "many pictures": ("/generate", (1000,), "count must be"),
    "half a picture": ("/generate", (1.5,), "whole number"),
    "seed below": ("/generate", (1, -1), "seed must be"),
    "seed above": ("/generate", (1, 2**40), "seed must be"),
    "unguided above": ("/generate", (1, 0, 1, 2), "unguided must be"),
    "temperature below": (
        "/generate",
        (1, 0, 1, None, None, "", "", "Fast", 1, -1),
        "temperature must be",
    ),
    "wanted a list": ("/generate", (1, 0, 1, 0.3, ["Smiling"]), "as a JSON object"),
    "wanted by number": ("/generate", (1, 0, 1, 0.3, {"Smiling": 3}), "as a JSON object"),
    "wanted unknown": ("/generate", (1, 0, 1, 0.3, {"Wings": True}), "no attribute 'Wings'"),
    "slider of no name": ("/fit_attribute", ("", [photo()] * 5), "Give the slider a name"),
    "slider of a path": ("/fit_attribute", ("../../x", [photo()] * 5), "Give the slider a name"),
    "slider of a taken name": ("/fit_attribute", ("Male", [photo()] * 5), "already"),
    "slider of few": ("/fit_attribute", ("Grin", [photo()] * 4), "At least 5 usable"),
    "batch of nothing": ("/batch", ([], SMILE), "Choose photographs first"),
    "batch without change": ("/batch", ([photo()], {}), "Nothing would change"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_get_a_sentence(client, tmp_path, name):
    content, message = BAD_FILES[name]
    (tmp_path / "picture.png").write_bytes(content)
    with pytest.raises(AppError, match=message):
        client.predict(handle_file(tmp_path / "picture.png"), SMILE, api_name="/edit")


@pytest.mark.parametrize("name", BAD_SLIDERS)
def test_bad_sliders_get_a_sentence(client, name):
    sliders, message = BAD_SLIDERS[name]
    with pytest.raises(AppError, match=message):
        client.predict(photo(), sliders, api_name="/edit")


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments_get_a_sentence(client, name):
    arguments, message = BAD_ARGUMENTS[name]
    with pytest.raises(AppError, match=message):
        client.predict(photo(), SMILE, **arguments, api_name="/edit")


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_calls_get_a_sentence(client, name):
    endpoint, arguments, message = BAD_CALLS[name]
    with pytest.raises(AppError, match=message):
        client.predict(*arguments, api_name=endpoint)


def upload(address, name, content):
    """Send a file as a browser does; what the server answers."""
    boundary = uuid.uuid4().hex
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    )
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    request = urllib.request.Request(f"{address}/gradio_api/upload", body, kind)
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read())


def test_a_path_in_a_file_name_leads_nowhere(address):
    (path,) = upload(address, "../../../../tmp/pdae_app_evil.png", JPEG)
    assert PREFIX in path and ".." not in path


def test_a_file_of_200_megabytes_is_refused(address):
    with pytest.raises((urllib.error.HTTPError, urllib.error.URLError)) as refusal:
        upload(address, "big.png", bytes(200_000_000))
    assert getattr(refusal.value, "code", 413) == 413


def test_the_servers_own_files_cannot_be_asked_for(client):
    with pytest.raises(AppError):
        client.predict(
            {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, SMILE, api_name="/edit"
        )


def test_the_server_is_alive_after_all_that(client):
    assert math.isfinite(client.predict(photo(), api_name="/encode")[1]["Smiling"])


def test_clients_at_once_get_what_each_would_get_alone(address, tiny_folder):
    """Six clients, two edits each, every one with its own photograph and strength."""
    editor, found = Editor.from_pretrained(tiny_folder, device="cpu"), {}

    def work(number):
        own = Client(address, verbose=False)
        for strength in (0.3 * (number + 1), -0.3 * (number + 1)):
            path, progress = own.predict(photo(number), {"Male": strength}, api_name="/edit")
            assert progress["done"]
            found[number, strength] = Image.open(path).tobytes()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    for (number, strength), pixels in found.items():
        whole = edit_photograph(editor, EXAMPLES[number], EditRequest(Preset({"Male": strength})))
        assert whole.tobytes() == pixels
