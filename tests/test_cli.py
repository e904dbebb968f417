"""`python -m pdae_app`, and what it writes."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from pdae_app.bundle import save_bundle
from pdae_app.cli import main
from pdae_app.engine import Editor
from pdae_app.engine.sliders import save_slider_for
from pdae_app.hub import default_model
from pdae_app.ui.session import EXAMPLES
from tests.running import ROOT
from tests.tiny import tiny_bundle

PHOTO = str(EXAMPLES[1])


@pytest.fixture
def run(tiny_folder, capsys):
    """Run a command on the tiny model: its exit code and what it printed."""

    def command(name, *arguments, model=tiny_folder):
        try:
            code = main([name, "--model", str(model), "--device", "cpu", *map(str, arguments)])
        except SystemExit as exit:
            code = exit.code
        return code, capsys.readouterr()

    return command


def test_edit_writes_the_whole_photograph_with_its_recipe(run, tmp_path):
    out = tmp_path / "new" / "out.png"
    code, told = run(
        "edit", PHOTO, "--set", "Smiling=1", "Male=-0.5", "-o", out, "--quality", "fast"
    )
    assert code == 0 and told.out.strip() == str(out)
    with Image.open(out) as image:
        assert image.size == Image.open(PHOTO).size
        recipe = json.loads(image.info["Description"])
    assert recipe["edit"] == {"Smiling": 1.0, "Male": -0.5}
    assert recipe["model"] == "bundle"


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_the_suffix_is_the_kind(run, tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    assert run("edit", PHOTO, "--set", "Smiling=1", "-o", out, "--quality", "fast")[0] == 0
    with Image.open(out) as image:
        assert b"compositeWithTrainedAlgorithmicMedia" in image.info["xmp"]
        assert "Smiling" in image.getexif()[0x010E]


def test_several_photographs_go_to_a_folder_and_errors_are_counted(run, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"x")
    photos = [PHOTO, tmp_path / "broken.jpg", EXAMPLES[0]]
    out = tmp_path / "all"
    code, told = run("edit", *photos, "--set", "Smiling=1", "-o", out, "--quality", "fast")
    assert code == 1 and "broken.jpg: This file is not a picture" in told.err
    assert sorted(path.name for path in out.iterdir()) == ["1-young-man.png", "2-young-woman.png"]


def test_interpolate_writes_a_film(run, tmp_path):
    for name in ("film.mp4", "film.gif"):
        out = tmp_path / name
        code, _ = run(
            "interpolate", PHOTO, EXAMPLES[0], "--frames", 3, "-o", out, "--quality", "fast"
        )
        assert code == 0 and out.stat().st_size > 1000
    assert Image.open(tmp_path / "film.gif").n_frames == 4


def test_generate_names_files_by_seed(run, tmp_path):
    arguments = ("--seeds", 3, 5, "--with", "Smiling", "-o", tmp_path)
    assert run("generate", *arguments)[0] == 0
    with Image.open(tmp_path / "5.png") as image:
        assert "/trainedAlgorithmicMedia" in image.info["XML:com.adobe.xmp"]
        assert json.loads(image.info["Description"])["wanted"] == {"Smiling": True}
    assert (tmp_path / "3.png").exists()


def test_info(run):
    code, told = run("info", "--json")
    facts = json.loads(told.out)
    assert code == 0 and facts["kind"] == "pdae" and set(facts["attributes"]) == {"Smiling", "Male"}
    assert "image size: 16" in run("info")[1].out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("edit", "nothing.jpg", "--set", "Smiling=1", "-o", "o.png"), 1, "no file nothing.jpg"),
        (("edit", PHOTO, "--set", "Wings=1", "-o", "o.png"), 1, "no attribute 'Wings'"),
        (("edit", PHOTO, "--set", "Smiling", "-o", "o.png"), 1, "takes NAME=STRENGTH"),
        (("edit", PHOTO, "--set", "Smiling=nan", "-o", "o.png"), 1, "out of range"),
        (("edit", PHOTO, "--set", "Smiling=1", "-o", "o.tiff"), 1, "must end in one of"),
        (("edit", PHOTO, "--preset", "none.json", "-o", "o.png"), 1, "none.json"),
        (("edit", PHOTO, "--slider", PHOTO, "-o", "o.png"), 1, "not a slider"),
        (("generate", "--seeds", "-4", "-o", "o"), 1, "seed must be a whole number"),
        (("generate", "--with", "Wings", "-o", "o"), 1, "no attribute 'Wings'"),
        (("edit", PHOTO), 2, "required"),
    ],
)
def test_what_is_wrong_is_one_line_and_an_exit_code(run, arguments, code, message, tmp_path):
    name, *rest = arguments
    exit_code, told = run(name, *rest)
    assert exit_code == code and message in told.err and "Traceback" not in told.err


def test_a_preset_and_set_together(run, tmp_path):
    preset = {"format": "pdae_app preset 1", "scale": 1.2, "sliders": {"Smiling": 1, "Male": 1}}
    (tmp_path / "p.json").write_text(json.dumps(preset))
    out = tmp_path / "out.png"
    arguments = ("--preset", tmp_path / "p.json", "--set", "Male=0.5", "--quality", "fast")
    assert run("edit", PHOTO, *arguments, "-o", out)[0] == 0
    recipe = json.loads(Image.open(out).info["Description"])
    assert recipe["edit"] == {"Smiling": 1.0, "Male": 0.5} and recipe["scale"] == 1.2


def test_a_slider_is_added_to_a_bundle(run, tmp_path):
    folder = tmp_path / "bundle"
    save_bundle(tiny_bundle(), folder)
    editor = Editor.from_pretrained(folder, device="cpu")
    codes = [editor.draw(seed, steps=5).code for seed in range(12)]
    fitted = editor.fit_attribute("Grin", codes[:6], codes[6:])
    save_slider_for(editor.bundle, fitted, tmp_path / "grin.safetensors")
    assert run("add-slider", tmp_path / "grin.safetensors", model=folder)[0] == 0
    assert Editor.from_pretrained(folder, device="cpu").attributes == ["Smiling", "Male", "Grin"]
    out = tmp_path / "o.png"
    arguments = (PHOTO, "--slider", tmp_path / "grin.safetensors", "--set", "Grin=1", "-o", out)
    assert run("edit", *arguments, "--quality", "fast")[0] == 0


def test_it_runs_as_a_module():
    run = subprocess.run(
        [sys.executable, "-m", "pdae_app", "--help"],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert all(name in run.stdout for name in ("edit", "interpolate", "generate", "info"))


def test_an_installation_without_a_model_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("PDAE_MODEL", raising=False)
    monkeypatch.setattr("pdae_app.hub.BUNDLED", tmp_path / "nothing")
    assert main(["info"]) == 1
    assert "name one by --model or the environment variable PDAE_MODEL" in capsys.readouterr().err
    monkeypatch.setenv("PDAE_MODEL", "somebody/faces")
    assert default_model() == "somebody/faces"


def test_names_are_taken_as_the_page_writes_them(run, tmp_path):
    out = tmp_path / "o.png"
    assert run("edit", PHOTO, "--set", "smiling=1", "-o", out)[0] == 0
    assert json.loads(Image.open(out).info["Description"])["edit"] == {"Smiling": 1.0}
    code, told = run("edit", PHOTO, "--set", "smiling=1", "Smiling=0", "-o", out)
    assert code == 1 and "named twice" in told.err


def test_a_face_can_be_chosen_and_the_hint_is_an_option(run, tmp_path):
    arguments = ("--set", "Smiling=1", "-o", tmp_path / "o.png")
    code, told = run("edit", PHOTO, *arguments, "--face", 2)
    assert code == 1 and "no face number 2: 1 found. The option for that is --center" in told.err
    assert run("edit", PHOTO, *arguments, "--face", 1)[0] == 0
    Image.new("RGB", (300, 200)).save(tmp_path / "wall.png")
    code, told = run("edit", tmp_path / "wall.png", *arguments)
    assert code == 1 and "--center" in told.err and "“" not in told.err
