"""Short films: read, tracked, edited frame by frame, written with their sound."""

import io
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from pdae_app.cli import main
from pdae_app.clips import MOST_SIDE, WRITERS, Clip, ClipError
from pdae_app.diffusion.coupled import Repaint
from pdae_app.engine import EditError, Editor
from pdae_app.engine.framing import Square
from pdae_app.engine.moving import edit_clip, fading
from pdae_app.engine.preset import Preset
from pdae_app.engine.requests import EditRequest
from pdae_app.faces.align import NoFaceError
from pdae_app.faces.detect import Face, detect_faces
from pdae_app.faces.tracking import MOST_GAP, gaussian, smoothed, track
from pdae_app.latents.clearing import Clearing
from pdae_app.region import Region
from tests.films import RATE, moving, write_film
from tests.running import (
    choose_files,
    click_example,
    drag,
    opened,
    running_app,
    status,
    tab,
)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("film") / "anna.mp4", moving(6))


def streams(data):
    with av.open(io.BytesIO(data)) as container:
        return {
            stream.type: (sum(1 for _ in container.decode(stream)), container.seek(0))[0]
            for stream in container.streams
        }


def edited(editor, clip, kind="MP4", **request):
    request = EditRequest(**({"preset": Preset({"Smiling": 3.0}), "steps": 3} | request))
    with WRITERS[kind](clip, request.provenance("tiny")) as writer:
        for moment in edit_clip(editor, clip, request):
            if moment.frame:
                writer.add(moment.frame)
        return writer.finish()


def test_a_face_is_followed_and_its_tremble_smoothed():
    frames = moving(5)
    found = list(track(frames))
    first = detect_faces(frames[0])[0]
    assert all(found)
    shift = np.subtract(found[4].center, first.center)
    assert np.allclose(shift, (8, 0), atol=1.5)
    rng = np.random.default_rng(0)
    trembling = [Face((100.0 + n, 100 + rng.normal()), (140.0 + n, 100.0)) for n in range(40)]
    errors = [
        np.std([face.left_eye[1] for face in path]) for path in (trembling, smoothed(trembling))
    ]
    assert errors[1] < 0.6 * errors[0]


def test_short_gaps_are_bridged_and_long_ones_not():
    face = Face((10.0, 10.0), (30.0, 10.0))
    moved = Face((20.0, 10.0), (40.0, 10.0))
    path = smoothed([face, None, None, moved])
    assert all(path) and 10 < path[1].left_eye[0] < path[2].left_eye[0] < 20
    lost = smoothed([face] + [None] * MOST_GAP + [moved])
    assert lost[0] and lost[-1] and not any(lost[1:-1])


def test_an_edit_comes_and_goes_with_its_face():
    parts = fading(np.array([True] * 8 + [False] * 3 + [True] * 2))
    assert parts[0] == 1 and not parts[8:11].any() and 0 < parts[7] < parts[6] < 1
    assert fading(np.ones(3, bool)).tolist() == [1, 1, 1]
    steady = gaussian(np.ones((5, 2)), 2.0, np.array([1, 1, 0, 1, 1], bool))
    assert np.allclose(steady, 1)


@pytest.mark.parametrize("repaint", [None, Repaint(1e-4, 1e-3)])
def test_all_frames_are_edited_and_the_sound_stays(coupled, film, repaint):
    coupled, clip = Editor(replace(coupled.bundle, repaint=repaint), "film", "cpu"), Clip(film)
    done = streams(edited(coupled, clip))
    assert done["video"] == 6 and done["audio"] > 3
    frames = [frame.image for frame in clip.frames()]
    request = EditRequest(Preset({"Smiling": 3.0}), 3)
    moments = list(edit_clip(coupled, clip, request))
    assert [moment.what for moment in moments] == ["faces"] * 6 + ["codes"] * 6 + ["frames"] * 6
    changes = [
        np.abs(np.subtract(moment.frame.image, frame, dtype=np.float32)).mean()
        for moment, frame in zip(moments[12:], frames, strict=True)
    ]
    assert min(changes) > 0.05 and max(changes) < 3 * min(changes)


def test_what_a_slider_clears_goes_from_every_frame(coupled, film):
    clearings = (Clearing("Smiling", up=True, readily=100.0, region=Region(0, 0, 1, 1)),)
    plain = replace(coupled.bundle, repaint=Repaint(0.01, 0.02))
    request, ends = EditRequest(Preset({"Smiling": 1.0}), 3), []
    for bundle in (plain, replace(plain, clearings=clearings)):
        moments = edit_clip(Editor(bundle, "film", "cpu"), Clip(film), request)
        ends.append([moment.frame.image for moment in moments if moment.what == "frames"])
    assert len(ends[0]) == 6 and all(a.tobytes() != b.tobytes() for a, b in zip(*ends, strict=True))


def test_a_gif_keeps_its_times(coupled, tmp_path):
    frames = moving(3)
    frames[0].save(
        tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[100, 300, 100]
    )
    data = edited(coupled, Clip(tmp_path / "a.gif"), "GIF")
    with Image.open(io.BytesIO(data)) as gif:
        assert gif.n_frames == 3 and b"Smiling" in gif.info["comment"]
        durations = []
        for number in range(3):
            gif.seek(number)
            durations.append(gif.info["duration"])
    assert durations[:2] == [100, 300]


def test_films_are_bounded(tmp_path, monkeypatch):
    path = write_film(tmp_path / "long.mp4", [Image.new("RGB", (64, 64))] * 30, sound=False)
    monkeypatch.setenv("PDAE_FILM_SECONDS", "1")
    assert len(list(Clip(path).frames())) == RATE
    wide = write_film(tmp_path / "wide.mp4", [Image.new("RGB", (MOST_SIDE * 2, 64))] * 2)
    assert next(Clip(wide).frames()).image.size == (MOST_SIDE, 32)
    monkeypatch.setenv("PDAE_MEGAPIXELS", "0.001")
    with pytest.raises(ClipError, match="megapixels"):
        Clip(path)


def test_bad_films_are_sentences(coupled, film, tmp_path):
    text = tmp_path / "list.m3u8"
    text.write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(film.read_bytes()[:300])
    for path in (text, broken):
        with pytest.raises(ClipError, match="not a film that can be read"):
            list(Clip(path).frames())
    strange = tmp_path / "strange.mp4"
    strange.write_bytes(film.read_bytes().replace(b"avc1", b"avc?"))
    with pytest.raises(ClipError, match="not a film that can be read"):
        Clip(strange)
    with pytest.raises(ClipError, match="deleted"):
        Clip(tmp_path / "gone.mp4")
    empty = write_film(tmp_path / "empty.mp4", [Image.new("RGB", (64, 64), "gray")] * 2)
    with pytest.raises(NoFaceError, match="in this film"):
        list(edit_clip(coupled, Clip(empty), EditRequest(Preset({"Smiling": 1.0}))))
    with pytest.raises(EditError, match="Nothing would change"):
        list(edit_clip(coupled, Clip(film), EditRequest()))


def test_a_cut_off_film_is_used_as_far_as_it_goes(tmp_path):
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)) for _ in range(48)]
    path = write_film(tmp_path / "a.mkv", noise, sound=False)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    assert 0 < len(list(Clip(path).frames())) < 48


def test_models_that_edit_through_x_T_say_so(editor, film):
    request = EditRequest(Preset({"Smiling": 1.0}), square=Square(center=True))
    with pytest.raises(EditError, match="and no films"):
        list(edit_clip(editor, Clip(film), request))


def test_the_command_writes_a_film(coupled_folder, film, tmp_path, capsys):
    out = tmp_path / "out.mp4"
    arguments = ["film", str(film), "--model", str(coupled_folder), "--set", "Smiling=1"]
    assert main([*arguments, "--device", "cpu", "-o", str(out)]) == 0
    assert streams(out.read_bytes())["video"] == 6
    assert main([*arguments, "-o", str(tmp_path / "out.txt")]) == 1
    assert "must end in one of .mp4, .gif" in capsys.readouterr().err


def test_the_page_edits_a_film_by_the_sliders(browser, coupled_folder, film):
    with running_app("--model", coupled_folder) as address, opened(browser, address) as page:
        tab(page, "Film")
        page.click("#edit-film")
        status(page, "Choose a film first", "film-status")
        choose_files(page, "film", [film])
        page.click("#edit-film")
        status(page, "Nothing would change", "film-status")
        tab(page, "Edit")
        click_example(page)
        status(page, "Ready: drag a slider")
        drag(page, "Smiling", 0.9)
        status(page, "Done in")
        tab(page, "Film")
        page.click("#edit-film")
        status(page, "6 frames in", "film-status")
        with page.expect_download() as download:
            page.locator("#film-result a").first.click()
        assert download.value.suggested_filename == "anna-smiling.mp4"
        done = streams(download.value.path().read_bytes())
        assert done["video"] == 6 and done["audio"] > 3
        client = Client(address, verbose=False)
        edited, progress = client.predict(handle_file(film), {"Smiling": 1.0}, api_name="/film")
        assert progress == {"what": "frames", "frames": 6, "done": True}
        assert edited.endswith("anna-smiling.mp4") and streams(Path(edited).read_bytes()) == done
        with pytest.raises(AppError, match="kind must be one of"):
            client.predict(handle_file(film), {"Smiling": 1}, kind="AVI", api_name="/film")
