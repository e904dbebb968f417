"""Labelled pictures, and an evaluation of them in numbers that take no time."""

import numpy as np
import pytest
import torch
from PIL import Image

from training.data import DataConfig
from training.evaluation import suite
from training.evaluation.judge import JudgeConfig
from training.evaluation.model import Model
from training.evaluation.sizes import Sizes
from training.evaluation.suite import SuiteConfig
from training.evaluation.tables import critical_stages, few_shot
from training.pixel_classifier import ClassifierConfig

SMALL = Sizes(
    judge_epochs=8,
    steps=(2, 4),
    inversion=5,
    exact=(2,),
    reconstructed=2,
    gap=2,
    people=2,
    strengths=(1.0,),
    edit_steps=2,
    random_directions=1,
    pairs=2,
    path_steps=2,
    drawn=6,
    draw_steps=(2,),
    scales=(0.0, 2.0),
    varied=2,
    variations=2,
    seeds=1,
    shots=(3,),
    few_shot_drawn=2,
    unfamiliar=2,
    detected=10,
    detector_epochs=1,
    stages=2,
    staged=2,
    losses=4,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """48 pictures of 20 px with two attributes, a number, classes and two splits."""
    place, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    lines = ["file,split,person,Smiling,Male,Age,class"]
    for i in range(48):
        smiling, male = i % 2, i // 2 % 2
        pixels = rng.integers(90, 130, (20, 20, 3))
        pixels[12:16, 6:14] += 100 * smiling
        pixels[:6] -= 80 * male
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / f"{i:02}.png")
        split = "train" if i < 24 else "test"
        kind = "cat" if smiling else "dog"
        lines.append(f"{i:02}.png,{split},p{i},{smiling},{male},{20 + i},{kind}")
    (place / "labels.csv").write_text("\n".join(lines) + "\n")
    return place


@pytest.fixture(scope="module")
def data(folder):
    labels, cache = str(folder / "labels.csv"), str(folder / "cache")
    return DataConfig(str(folder), labels=labels, cache=cache)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(suite, "QUICK", SMALL)
    monkeypatch.setattr(suite.fake_detection, "LEAST_STEPS", 1)
    monkeypatch.setattr(suite.fake_detection, "SIZE", 16)
    monkeypatch.setattr(few_shot, "UNLABELLED", 8)
    monkeypatch.setattr(few_shot, "TRIES", 8)
    monkeypatch.setattr(critical_stages, "STEPS", 2)


def config(data, out, **changes):
    folder = str(out.parent / "judge")
    judge = JudgeConfig(folder, size=16, picture_size=16, classifier=ClassifierConfig(batch_size=8))
    options = {"quick": True, "lpips": "none", "align": "center", "judge_config": judge}
    return SuiteConfig(data, str(out), **(options | changes))


def model(bundle, name="tiny"):
    return Model(name, bundle, torch.device("cpu"))
