"""Sliders from pairs, from numbers and from codes alone: what they find, and their scores."""

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from pdae_app.cli import main
from pdae_app.engine import EditError
from pdae_app.engine.own_slider import (
    NumbersRequest,
    PairsRequest,
    fit_slider,
    parse_numbers,
    score_in_words,
)
from pdae_app.engine.sliders import load_slider_for, save_slider_for
from pdae_app.engine.unnamed import STRENGTHS, named, strips, unnamed_directions
from pdae_app.latents.directions import Attribute
from pdae_app.latents.own_directions import find_directions, fit_numbers, fit_pairs, holding
from pdae_app.ui.session import EXAMPLES
from tests.tiny import tiny_latents

DIM = 12
SPACE = tiny_latents(dim=DIM)


def normal(count, seed=0):
    """Codes (N, D) that are normal once they are normalised."""
    drawn = torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))
    return drawn * SPACE.std + SPACE.mean


def cosine(a, b):
    return float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


def test_pairs_give_the_change_that_they_have_in_common():
    way = torch.zeros(DIM)
    way[3] = 2.0
    before = normal(6)
    after = before + (way + 0.3 * torch.randn(6, DIM)) * SPACE.std
    fitted = fit_pairs("Beard", before, after, SPACE)
    assert cosine(fitted.direction, way.numpy()) > 0.95
    assert fitted.attribute.measure == "cosine" and fitted.attribute.score > 0.8
    moved = fitted.added_to(SPACE).move(before[0], {"Beard": 1.0})
    change = SPACE.normalize(moved) - SPACE.normalize(before[0])
    assert torch.allclose(change, torch.from_numpy(fitted.direction).float(), atol=1e-4)


def test_pairs_without_a_common_change_score_like_chance():
    scores = [
        fit_pairs("Nothing", normal(6, seed), normal(6, 100 + seed), SPACE).attribute.score
        for seed in range(30)
    ]
    assert abs(np.mean(scores)) < 0.1


def test_what_is_held_stays():
    before = normal(5)
    smile, beard = SPACE.directions[0], torch.zeros(DIM)
    beard[5] = 1.5
    after = before + (3 * smile + beard) * SPACE.std
    free = fit_pairs("Beard", before, after, SPACE)
    held = fit_pairs("Beard", before, after, SPACE, ["Smiling"])
    logits = [
        SPACE.logits(f.added_to(SPACE).move(before[0], {"Beard": 1.0}))[0] for f in (free, held)
    ]
    start = SPACE.logits(before[0])[0]
    assert logits[0] - start > 1 and logits[1] - start == pytest.approx(0, abs=1e-3)
    assert torch.equal(holding(SPACE, before, []), before)


def test_numbers_are_followed():
    codes = normal(60)
    values = (
        30 + 8 * SPACE.normalize(codes)[:, 2].numpy() + np.random.default_rng(0).normal(size=60)
    )
    fitted = fit_numbers("Age", codes, values, SPACE)
    assert fitted.attribute.measure == "pearson r" and fitted.attribute.score > 0.9
    space = fitted.added_to(SPACE)
    older = space.move(codes[0], {"Age": 1.0})
    assert SPACE.normalize(older)[2] > SPACE.normalize(codes[0])[2]
    assert space.logits(older)[-1] == pytest.approx(fitted.attribute.positive_logit, abs=0.6)


def test_numbers_of_nothing_score_like_chance():
    scores = []
    for seed in range(30):
        values = np.random.default_rng(seed).normal(size=12)
        scores.append(fit_numbers("Age", normal(12, seed), values, SPACE).attribute.score)
    assert -0.35 < np.mean(scores) < 0.15  # of few pictures rather too modest than too good


def mixed():
    """Codes that vary most along one way, and next along another."""
    amounts = torch.rand(800, DIM, generator=torch.Generator().manual_seed(3)) - 0.5
    spread = torch.ones(DIM)
    spread[4], spread[7] = 6.0, 4.0
    return amounts * spread * SPACE.std + SPACE.mean


@pytest.mark.parametrize("kind", ["principal", "independent"])
def test_directions_are_found_without_labels(kind):
    first, second = find_directions(mixed(), SPACE, kind, 2)
    assert {int(np.abs(found.direction).argmax()) for found in (first, second)} == {4, 7}
    assert first.attribute.score > second.attribute.score > 0.2
    assert first.attribute.score + second.attribute.score < 1


def test_a_score_needs_its_measure():
    with pytest.raises(ValueError, match="measured by"):
        Attribute("Age", 0.0, unit=1.0, score=0.5)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Six people, and the same brighter."""
    folder, before, after = tmp_path_factory.mktemp("pairs"), [], []
    for path in EXAMPLES[:6]:
        before.append(str(path))
        after.append(str(folder / path.name))
        ImageEnhance.Brightness(Image.open(path)).enhance(1.8).save(after[-1])
    return before, after


def last(steps):
    *_, step = steps
    return step


def test_a_slider_from_pairs_of_photographs(editor, pairs, tmp_path):
    step = last(fit_slider(editor, PairsRequest("Light", *pairs, held=["smiling"])))
    assert step.read == 12 and step.fitted.attribute.score > 0.5
    assert "pairs left out" in score_in_words(step.fitted)
    save_slider_for(editor.bundle, step.fitted, tmp_path / "light.safetensors")
    again = load_slider_for(editor.bundle, tmp_path / "light.safetensors")
    assert again.attribute.score == step.fitted.attribute.score
    code = editor.encode(Image.open(EXAMPLES[5]), 2)
    moved = editor.with_attributes(again).moved(code, {"Light": 1.0})
    assert (moved.z - code.z).norm() > 0


def test_what_pairs_need_is_said(editor, pairs, tmp_path):
    before, after = pairs
    with pytest.raises(EditError, match="3 pictures before and 2 after"):
        PairsRequest("Light", before[:3], after[:2])
    with pytest.raises(EditError, match="At least 4 usable pairs are needed, got 3"):
        last(fit_slider(editor, PairsRequest("Light", before[:3], after[:3])))
    with pytest.raises(EditError, match="no change in common"):
        last(fit_slider(editor, PairsRequest("Light", before, before)))
    with pytest.raises(EditError, match="no attribute 'Wings'"):
        last(fit_slider(editor, PairsRequest("Light", *pairs, held=["Wings"])))
    (tmp_path / "broken.jpg").write_bytes(b"x")
    broken = [*before[:4], str(tmp_path / "broken.jpg")]
    step = last(fit_slider(editor, PairsRequest("Light", broken, after[:5])))
    assert step.fitted.attribute.positives == 4 and "broken.jpg" in step.skipped[0]


def test_a_table_of_numbers_is_read():
    assert parse_numbers("file,age\nanna.jpg,34\n\nben.png; 5.5\n") == {
        "anna.jpg": 34.0,
        "ben.png": 5.5,
    }
    for text, message in (
        ("a.jpg,1\nb.jpg,old\n", "Line 2 of the table"),
        ("a.jpg,1\nb.jpg\n", "Line 2"),
        ("a.jpg,1\nb.jpg,nan\n", "Line 2"),
        ("file,age\n", "table is empty"),
        ("x" * 200_000, "too long"),
    ):
        with pytest.raises(EditError, match=message):
            parse_numbers(text)


def test_a_slider_from_numbers_of_photographs(editor):
    paths = [str(path) for path in EXAMPLES]
    paths = [*paths, *paths][: max(10, len(paths))]
    numbers = {path.name: float(i) for i, path in enumerate(EXAMPLES)}
    step = last(fit_slider(editor, NumbersRequest("Age", paths, numbers)))
    assert step.fitted.attribute.measure == "pearson r"
    assert "Pearson" in score_in_words(step.fitted)
    with pytest.raises(EditError, match="At least 10 usable pictures with a number"):
        last(fit_slider(editor, NumbersRequest("Age", paths, {EXAMPLES[0].name: 3.0})))
    with pytest.raises(EditError, match="all values are the same"):
        last(fit_slider(editor, NumbersRequest("Age", paths, dict.fromkeys(numbers, 1.0))))


def test_unnamed_directions_are_shown_and_named(editor):
    found = unnamed_directions(editor, "principal", 2)
    code = editor.encode(Image.open(EXAMPLES[0]), 2)
    rows = list(strips(editor, code, found, 2))
    assert [len(row) for row in rows] == [len(STRENGTHS)] * 2
    assert rows[0][1].tobytes() == editor.decode(code).tobytes()  # nobody is changed in the middle
    assert rows[0][0].tobytes() != rows[0][2].tobytes()
    assert named(found[0], " Light ").attribute.name == "Light"
    for arguments, message in ((("round", 2), "no kind"), (("principal", 99), "1 to 12")):
        with pytest.raises(EditError, match=message):
            unnamed_directions(editor, *arguments)


def command(*arguments):
    return main([*map(str, arguments), "--device", "cpu"])


def test_the_commands(tiny_folder, pairs, tmp_path, capsys):
    model, out = ("--model", tiny_folder), tmp_path / "light.safetensors"
    before, after = pairs
    made = ("make-slider", "Light", *model, "-o", out)
    code = command(*made, "--before", *before, "--after", *after, "--hold", "Smiling")
    told = capsys.readouterr()
    assert code == 0 and out.exists() and "pairs left out" in told.out, told.err
    table = tmp_path / "ages.csv"
    lines = [f"{path},{20 + i}" for i, path in enumerate([*EXAMPLES, *after])]
    table.write_text("\n".join(["file,age", *lines]))
    assert command(*made, "--numbers", table) == 0, capsys.readouterr().err
    assert command(*made) == 1 and "Give one of" in capsys.readouterr().err
    found = ("directions", *model, "--count", 2, "-o", tmp_path / "ways")
    assert command(*found, "--kind", "independent") == 0
    files = sorted(path.name for path in (tmp_path / "ways").iterdir())
    assert files == [f"independent-{n}.{kind}" for n in (1, 2) for kind in ("png", "safetensors")]
    with Image.open(tmp_path / "ways" / "independent-1.png") as strip:
        assert strip.size == (len(STRENGTHS) * 192, 192)
        assert json.loads(strip.info["Description"])["strip"] == "Independent 1"
