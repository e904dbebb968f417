"""What README tells people to type does what it says, word for word, on a tiny model."""

import csv
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from pdae_app import Editor, hub
from pdae_app.bundle import save_bundle
from pdae_app.cli import main
from pdae_app.engine.sliders import save_slider_for
from pdae_app.ui.app import build
from pdae_app.ui.events import ModelWorkers
from pdae_app.ui.models import Models
from pdae_app.ui.session import EXAMPLES
from tests.test_films import moving, write_film
from tests.tiny import tiny_latent_bundle, tiny_latents

README = (Path(__file__).parent.parent / "README.md").read_text()
ATTRIBUTES = ("Smiling", "Eyeglasses", "Male", "Young", "Gray_Hair")
PEOPLE = ("photo", "other", "anna", "ben", "a", "b", "c", "d", "a2", "b2", "c2", "d2")


def blocks(language, section):
    """The code blocks of a section."""
    text = README.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder like the repository's, with a tiny model and everybody's photographs."""
    place = tmp_path_factory.mktemp("place")
    bundle = replace(tiny_latent_bundle(), coupled_from=80, latents=tiny_latents(ATTRIBUTES))
    save_bundle(bundle, place / "checkpoints" / "faces128")
    (place / "pdae_app" / "ui").mkdir(parents=True)
    (place / "pdae_app" / "ui" / "examples").symlink_to(EXAMPLES[0].parent)
    for number, name in enumerate(PEOPLE):
        with Image.open(EXAMPLES[number % len(EXAMPLES)]) as photo:
            photo.resize((200, 200)).save(place / f"{name}.jpg")
    group = Image.new("RGB", (420, 200), "gray")
    for number in (0, 1):
        with Image.open(EXAMPLES[number]) as photo:
            group.paste(photo.resize((200, 200)), (210 * number, 0))
    group.save(place / "group.jpg")
    with open(place / "ages.csv", "w", newline="") as file:
        csv.writer(file).writerows([f"{name}.jpg", 20 + 5 * i] for i, name in enumerate(PEOPLE))
    (place / "preset.json").write_text(
        '{"format": "pdae_app preset 1", "sliders": {"Smiling": 1}, "scale": 1}'
    )
    write_film(place / "clip.mp4", moving(3))
    editor = Editor.from_pretrained(place / "checkpoints" / "faces128", device="cpu")
    codes = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    drawn = [editor.draw(0, steps=2).code.with_z(z) for z in codes]
    grin = editor.fit_attribute("Grin", drawn[:6], drawn[6:])
    save_slider_for(editor.bundle, grin, place / "Grin.safetensors")
    return place


@pytest.fixture(autouse=True)
def inside(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setattr(hub, "BUNDLED", place / "checkpoints" / "faces128")


def test_the_python_example(place):
    (example,) = blocks("python", "Use it from Python")
    made = {}
    exec(compile(example, "README.md", "exec"), made)
    assert made["editor"].attributes == list(ATTRIBUTES)
    assert Image.open(place / "smiling.png").size == made["photo"].size
    assert len(made["strip"]) == 3 and len(made["frames"]) == 7 and len(made["faces"]) == 3
    assert made["image"].size == made["square"].size == (32, 32)


(COMMANDS,) = blocks("bash", "From the command line")


@pytest.mark.parametrize("line", COMMANDS.splitlines(), ids=lambda line: line.split()[3])
def test_a_command(line, place, capsys):
    program, *words = shlex.split(line, comments=True)
    assert program == ".venv/bin/python" and words[:2] == ["-m", "pdae_app"]
    words = [
        name
        for word in words[2:]
        for name in (sorted(p.name for p in place.glob(word)) if "*" in word else [word])
    ]
    assert main(words) == 0, capsys.readouterr().err
    if "-o" in words:
        out = place / words[words.index("-o") + 1]
        assert out.is_file() or list(out.iterdir())


def test_the_client_example(place):
    (example,) = blocks("python", "From another program")
    editor = Editor.from_pretrained(place / "checkpoints" / "faces128", device="cpu")
    page = build(Models(editor), ModelWorkers())
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True)
    try:
        made = {}
        exec(compile(example.replace("http://127.0.0.1:7860", address), "README.md", "exec"), made)
    finally:
        page.close()
    assert made["progress"]["done"] and made["looks"]["Older"]
    assert set(made["sliders"]) == {"Smiling", "Young"}
    assert Path(made["film"]).suffix == ".mp4"
