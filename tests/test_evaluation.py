"""The evaluation on cases whose answer is known."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pdae_app.engine import Editor
from pdae_app.engine.pictures import to_image
from pdae_app.faces.align import crop, find_alignment
from pdae_app.ui.session import EXAMPLES
from tests.tiny import tiny_latent_bundle
from training.data import DataConfig, load_pictures, plain_squares
from training.evaluation.card import CardConfig, measure
from training.evaluation.edits import (
    STRENGTHS,
    VALUES,
    Verdicts,
    at_one,
    curve,
    edited_people,
    judged,
    mean_rows,
)
from training.evaluation.identity import load_embedder, yardsticks
from training.evaluation.judge import Judge, JudgeConfig, common_columns, load_judge, to_size
from training.evaluation.model import Model
from training.evaluation.people import chosen_people, spread_out
from training.evaluation.reconstruction import coded, compare, gap, reconstruction
from training.evaluation.sheets import save_sheet
from training.evaluation.subject import Subject
from training.evaluation.taken_away import having, taken_away
from training.pixel_classifier import (
    ClassifierConfig,
    aurocs,
    class_weights,
    label_table,
    masked_bce,
    train_classifier,
    varied,
)
from training.report import filled, model_tables, report, side_by_side, titled
from training.report import main as write_report

NAMES = ["Smiling", "Male"]
ROWS = [
    {"file": f"{i}.png", "person": str(i // 2), "Smiling": str(i % 2), "Male": str(i // 2 % 2)}
    for i in range(8)
]


class BrightnessJudge(nn.Module):
    """Logits of Smiling from the red channel's mean, of Male from the green one's."""

    def forward(self, x):
        return 4 * x.mean(dim=(2, 3))[:, :2]


class FakeEditor:
    """Pictures are their codes: (red, green), and a slider adds its strength to one of them."""

    attributes = NAMES
    image_size = 16

    def __init__(self, follows: bool):
        self.follows = follows

    def encode_squares(self, squares, steps):
        return list(squares.mean(dim=(2, 3)))

    def decode(self, code):
        return to_image(code[:, None, None].expand(-1, 16, 16))

    def strip(self, code, name, strengths):
        for strength in strengths:
            moved = code.clone()
            if self.follows:
                moved[NAMES.index(name)] = strength / 2
            yield self.decode(moved)


def subject(follows: bool) -> Subject:
    """Positives have 0.5 in a channel, negatives -0.5: just where a perfect slider leads."""
    channels = torch.tensor([[int(row[name]) - 0.5 for name in NAMES] + [0.0] for row in ROWS])
    squares = channels[:, :, None, None].expand(-1, -1, 16, 16).contiguous()
    return Subject(FakeEditor(follows), squares, ROWS, [0, 3, 5, 6], 10)


def verdicts(of: Subject) -> list[Verdicts]:
    return [judged(edited, JUDGE, None) for edited in edited_people(of, NAMES)]


JUDGE = Judge(BrightnessJudge(), NAMES, 16)


def test_a_perfect_slider_carries_all_and_leaks_nothing():
    people = subject(follows=True)
    real = JUDGE.real(people.squares, people.rows)
    for verdict in verdicts(people):
        row = at_one(verdict, NAMES, real)
        assert row["carried"] == pytest.approx(1, abs=0.01)
        assert row["leak"] == pytest.approx(0, abs=1e-6)
        assert row["rises for"] == 1
        assert row["identity"] is None
        half, full, more = curve(verdict, NAMES, real)
        assert half["carried"] < full["carried"] < more["carried"]
        assert full["carried"] == row["carried"]


def test_an_editor_that_changes_nothing_carries_nothing():
    people = subject(follows=False)
    real = JUDGE.real(people.squares, people.rows)
    rows = [row for verdict in verdicts(people) for row in curve(verdict, NAMES, real)]
    assert [row["strength"] for row in rows] == [*STRENGTHS] * 2
    assert all(row["carried"] == row["leak"] == 0 for row in rows + mean_rows(rows))


def colours(squares):
    """An embedder: unit vectors of the mean colour."""
    return nn.functional.normalize(squares.mean(dim=(2, 3)) + 1, dim=1)


@pytest.mark.parametrize("follows", [False, True])
def test_the_identity_of_doing_nothing_is_one(follows):
    people = subject(follows)
    real = JUDGE.real(people.squares, people.rows)
    for edited in edited_people(people, NAMES):
        for row in curve(judged(edited, JUDGE, colours), NAMES, real):
            assert (row["identity"] == pytest.approx(1, abs=1e-6)) != follows


def test_a_leak_is_the_mean_change_of_the_others():
    p = torch.zeros(len(VALUES), 2, 3)
    p[VALUES.index(1.0)] = torch.tensor([[0.8, 0.5, 0.0], [0.4, 0.0, 0.1]])
    p[VALUES.index(-1.0)] = torch.tensor([[0.2, 0.1, 0.0], [0.2, 0.2, 0.0]])
    real = torch.tensor([[0.1, 0.0, 0.0], [0.9, 1.0, 1.0]])
    likeness = torch.ones(len(VALUES), 2)
    likeness[VALUES.index(1.0)] = 0.5
    row = at_one(Verdicts("a", p, likeness), ["a", "b", "c"], real)
    assert row["carried"] == pytest.approx(0.5)  # (0.6 - 0.2) / (0.9 - 0.1)
    assert row["leak"] == pytest.approx((0.4 + 0.2 + 0.0 + 0.1) / 4)
    assert row["identity"] == pytest.approx(0.75)
    assert row["others move"] == pytest.approx({"b": 0.1, "c": 0.05})


def test_unknown_labels_count_nothing():
    labels = label_table([{"a": "1", "b": ""}, {"a": "0", "b": "1"}], ["a", "b"])
    assert labels.isnan().tolist() == [[False, True], [False, False]]
    logits = torch.tensor([[0.3, 5.0], [-0.2, 0.7]], requires_grad=True)
    weights = torch.ones(2, 2)
    masked_bce(logits, labels, weights).backward()
    assert logits.grad[0, 1] == 0
    assert (logits.grad[:, 0] != 0).all()
    expected = nn.functional.binary_cross_entropy_with_logits(
        torch.tensor([0.3, -0.2, 0.7]), torch.tensor([1.0, 0.0, 1.0])
    )
    torch.testing.assert_close(masked_bce(logits, labels, weights).detach(), expected)
    scores = torch.tensor([[0.9, 0.0], [0.1, 0.6], [0.2, 0.4]])
    truth = torch.tensor([[1.0, float("nan")], [0.0, 1.0], [0.0, 0.0]])
    assert aurocs(scores, truth, ["a", "b"]) == {"a": 1.0, "b": 1.0}


def test_either_class_weighs_half():
    labels = torch.tensor([[1.0], [0.0], [0.0], [0.0], [float("nan")]])
    negative, positive = class_weights(labels)
    assert 3 * negative == pytest.approx(1 * positive)
    assert (3 * negative + positive) / 4 == pytest.approx(1)


def test_only_what_both_parts_tell_is_judged():
    train = [
        {"file": "a", "x": "0", "y": "1", "z": ""},
        {"file": "b", "x": "1", "y": "1", "z": "0"},
    ]
    train.append({"file": "c", "x": "", "y": "0", "z": "1"})
    test = [
        {"file": "d", "x": "0", "y": "1", "z": "0"},
        {"file": "e", "x": "1", "y": "1", "z": "1"},
    ]
    assert common_columns(train, test) == ["x", "z"]


def test_variation_keeps_range_shape_and_the_random_state_of_others():
    x = torch.rand(4, 3, 32, 32) * 2 - 1
    assert varied(x).shape == x.shape
    assert varied(x).isfinite().all()
    labels = torch.tensor([[0.0], [1.0], [0.0], [1.0]])
    before = torch.random.get_rng_state()
    nets = [train_classifier(x, labels, ClassifierConfig(epochs=1, batch_size=2)) for _ in "ab"]
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.testing.assert_close(nets[0](x), nets[1](x))


@pytest.mark.parametrize("size, expected", [(96, 96), (24, 24), (48, 48)])
def test_squares_of_any_size_come_before_the_judge(size, expected):
    squares = torch.linspace(-1, 1, 48).expand(1, 3, 48, 48)
    found = to_size(squares, size)
    assert found.shape[-1] == expected
    torch.testing.assert_close(found.mean(), squares.mean(), atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Pictures with a bright spot left and right (an "attribute") or without, and their labels."""
    folder, rng = tmp_path_factory.mktemp("spots"), np.random.default_rng(0)
    lines = ["file,split,person,Smiling,Male,Unknown"]
    for i in range(96):
        smiling, male = i % 2, i // 2 % 2
        pixels = rng.integers(90, 130, (48, 48, 3))
        if smiling:
            pixels[30:40, 16:32] += 100
        if male:
            pixels[4:14] -= 80
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i:02}.png")
        split = "test" if i >= 72 else "train"
        lines.append(f"{i:02}.png,{split},p{i},{smiling},{male if i % 7 else ''},")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def config(faces, tiny_folder):
    classifier = ClassifierConfig(epochs=12, batch_size=12)
    data = DataConfig(
        str(faces),
        labels=str(faces / "labels.csv"),
        split="train",
        align="center",
        cache=str(faces / "cache"),
    )
    judge = JudgeConfig(str(faces / "judge"), size=32, picture_size=32, classifier=classifier)
    return CardConfig(
        str(tiny_folder),
        str(faces / "out"),
        data,
        people=2,
        edit_steps=3,
        limit=4,
        steps=4,
        judge=judge,
    )


def test_the_judge_learns_and_is_kept(config, faces):
    test = load_pictures(replace(config.data, split="test"), 32)
    judge = load_judge(config.judge, config.data, test.rows)
    assert judge.names == NAMES
    squares = plain_squares(test, 32)
    assert min(judge.scores(squares, test.rows).values()) > 0.9
    negatives, positives = judge.real(squares, test.rows)
    assert (positives > negatives + 0.3).all()
    files = list((faces / "judge").iterdir())
    again = load_judge(config.judge, config.data, test.rows)
    assert list((faces / "judge").iterdir()) == files
    torch.testing.assert_close(again(squares), judge(squares))
    shorter = replace(config.judge, classifier=ClassifierConfig(epochs=1, batch_size=12))
    load_judge(shorter, config.data, test.rows)
    assert len(list((faces / "judge").iterdir())) == 2


def test_a_bundle_is_measured_whole(config, faces):
    figures = measure(config)
    assert json.loads(json.dumps(figures)) == figures
    assert list(figures["edits"]) == NAMES
    assert figures["people"] == 2
    assert len(figures["curves"]) == (1 + len(NAMES)) * len(STRENGTHS)
    assert len(figures["gap"]) == 10
    assert figures["reconstruction"]["inferred x_T"]["MSE"] >= 0
    assert all(
        away["people"] and 0 <= away["after"] <= 1 for away in figures["taken away"].values()
    )
    for name in NAMES:
        with Image.open(faces / "out" / "sheets" / f"{name}.png") as sheet:
            assert sheet.width > sheet.height
    text = report(figures)
    assert "| Smiling |" in text and "| ±1.5 |" in text
    assert f"| {figures['taken away']['Smiling']['part']:.0%} |\n" in text
    assert "taken away at -1 from who has it" in text
    table = side_by_side([figures, figures], ["this", "other"]).splitlines()
    assert "other: carried" in table[0] and len(table) == 2 + len(NAMES) + 1


class Darkener:
    """An editor whose codes are the pictures, and whose sliders at -1 take half of the light."""

    def encode_squares(self, squares, steps):
        return [to_image(square) for square in squares]

    def decode(self, code):
        return code

    def edit(self, code, sliders, steps):
        assert sliders == {"Light": -1.0} and steps == 3
        return code.point(lambda value: value // 2)


class LightJudge:
    """Its probability is the picture's lightness, 0 to 1."""

    names = ("Other", "Light")

    def __call__(self, pictures):
        light = pictures.mean(dim=(1, 2, 3)) / 2 + 0.5
        return torch.stack([torch.zeros_like(light), light], dim=1)


def test_what_a_slider_takes_from_those_who_have_it():
    lights = torch.linspace(-1, 1, 6)
    squares = lights.view(6, 1, 1, 1).expand(-1, 3, 8, 8)
    rows = [{"file": str(i), "Light": str(i // 3), "Male": "0"} for i in range(6)]
    subject = having(Subject(Darkener(), squares, rows, [0, 1], 3), "Light", 2)
    assert len(subject.people) == 2 and set(subject.people) < {3, 4, 5}
    everyone = replace(subject, people=[3, 4, 5])
    real = torch.tensor([[0.0, 0.2], [0.0, 0.8]])
    figures = taken_away(everyone, LightJudge(), "Light", real)
    assert figures == {
        "people": 3,
        "before": pytest.approx(0.8, abs=0.01),
        "after": pytest.approx(0.4, abs=0.01),
        "part": pytest.approx(0.4 / 0.6, abs=0.02),
    }
    assert not having(subject, "Wings", 2).people


def test_reconstruction_through_a_first_stage():
    editor = Editor(tiny_latent_bundle(), "tiny")
    size = editor.image_size
    pictures = torch.rand(3, 3, size, size) * 2 - 1
    subject = coded(Model("tiny", editor.bundle, editor.device), pictures)
    assert subject.states.shape[1:] == editor.bundle.state_shape
    figures = reconstruction(subject, 3)
    assert set(figures) >= {"inferred x_T", "random x_T", "first stage alone"}
    assert [row["t"] for row in gap(subject)] == [5 + 10 * i for i in range(10)]


def test_equal_pictures_compare_as_equal():
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    assert compare(x, x) == {"MSE": 0.0, "SSIM": pytest.approx(1.0)}
    assert compare(-torch.ones_like(x), torch.ones_like(x))["MSE"] == 1


def test_people_are_one_picture_each_and_differ_from_the_first():
    rows = [
        {"file": str(i), "person": str(i // 2), "Male": str(i // 4 % 2), "Young": str(i // 8 % 2)}
        for i in range(48)
    ]
    squares = torch.linspace(-1, 1, 48)[:, None, None, None].expand(-1, 3, 16, 16)
    chosen = chosen_people(rows, squares, 100)
    assert len(chosen) == 24 and len({rows[i]["person"] for i in chosen}) == 24
    few = chosen_people(rows, squares, 4)
    assert few == chosen[:4] == chosen_people(rows, squares, 4)
    assert len({(rows[i]["Male"], rows[i]["Young"]) for i in few}) == 4


def test_every_beginning_is_spread():
    order = spread_out(list(range(32)))
    assert sorted(order) == list(range(32))
    for count in (4, 8, 12):
        gaps = np.diff(sorted({-1, 32, *order[:count]}))
        assert gaps.max() <= 3 * 32 / count


def test_identity_knows_the_same_face():
    pytest.importorskip("dlib")
    photos = [Image.open(path).convert("RGB") for path in EXAMPLES[:2]]
    squares = [np.array(crop(photo, find_alignment(photo), 64)) for photo in photos]
    squares = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2) / 127.5 - 1
    both = torch.cat([squares, (squares * 0.9).flip(-1)])
    rows = [{"file": str(i), "person": str(i % 2)} for i in range(4)]
    found = yardsticks(load_embedder(), both, rows)
    assert found["same person, another photograph"] > found["strangers"] + 0.03


def test_a_sheet_has_a_person_a_row(tmp_path):
    people = subject(follows=True)
    edited = next(edited_people(people, NAMES))
    save_sheet(edited, people.faces, tmp_path)
    with Image.open(tmp_path / "Smiling.png") as sheet:
        assert sheet.size == (8 * 18 + 2, 4 * 18 + 2)


def test_figures_are_written_into_a_document(tmp_path):
    text = "before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n"
    found = filled(text, "figures", "new")
    assert found == "before\n<!-- figures -->\n\nnew\n\n<!-- /figures -->\nafter\n"
    assert filled(found, "figures", "new") == found
    with pytest.raises(ValueError, match="no lines <!-- tables -->"):
        filled(text, "tables", "new")
    with pytest.raises(ValueError, match="holds no tables"):
        model_tables([str(tmp_path)])


def test_the_command_writes_tables_into_a_card_and_again_the_same(tmp_path, monkeypatch):
    record = {"table": "losses", "title": "Losses", "of": "a paper", "model": "mine"}
    record |= {"size": "full", "warnings": [], "rows": [{"t": 5, "loss": 0.25}]}
    record |= {"seconds": 1.0, "processor seconds": 1.0, "threads": 1}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "losses.json").write_text(json.dumps(record))
    card = tmp_path / "README.md"
    figures = "<!-- figures -->\n<!-- /figures -->"
    card.write_text(f"# mine\n<!-- tables -->\n<!-- /tables -->\n{figures}\n")
    monkeypatch.setattr("sys.argv", ["report.py", str(tmp_path / "mine"), "--into", str(card)])
    write_report()
    once = card.read_text()
    write_report()
    assert card.read_text() == once
    assert "| 5 | 0.2500 |" in once and figures in once
    (tmp_path / "mine" / "losses.json").write_text("rubbish")
    with pytest.raises(ValueError, match="is no file of results"):
        write_report()


def test_models_of_equal_name_are_told_apart_beside_each_other():
    assert titled(["runs/a/bundle", "runs/b/bundle"], ["x.json", "y.json"]) == [
        "a-bundle",
        "b-bundle",
    ]
    twice = titled(["runs/a/bundle"] * 2, ["/old/figures.json", "/new/figures.json"])
    assert twice == ["old-figures.json", "new-figures.json"]
