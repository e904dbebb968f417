"""The metrics of the evaluation on cases whose answer is known."""

import math
import pickle
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from skimage.metrics import mean_squared_error, structural_similarity
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from tests.tiny import tiny_bundle
from training.evaluation.distances import (
    PIXELS,
    feature_distance,
    lpips,
    similarity,
    squared_error,
)
from training.evaluation.edits import Verdicts, curve
from training.evaluation.features import Features, inception, judge_features, load_features
from training.evaluation.frechet import bias_note, floor, frechet, kernel, precision_recall
from training.evaluation.judge import Judge, check_unseen
from training.evaluation.model import Model
from training.evaluation.table import LeftOutError, with_error, written
from training.evaluation.tables.attributes import averaged, classified, regressed
from training.evaluation.tables.fake_detection import detected
from training.evaluation.tables.few_shot import accepted
from training.evaluation.tables.interpolation import linearity, path_length
from training.evaluation.tables.memorisation import verdict
from training.evaluation.tables.unfamiliar import shifted
from training.evaluation.tools import Tools
from training.pixel_classifier import ClassifierConfig, small_cnn


def normal(count, dim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64)


def whitened(x):
    """Exactly zero mean and unit covariance."""
    x = x - x.mean(dim=0)
    covariance = x.T @ x / (len(x) - 1)
    return x @ torch.linalg.inv(torch.linalg.cholesky(covariance)).T


def test_the_distance_of_two_normals_is_the_closed_form():
    a, b = whitened(normal(200, 4)), whitened(normal(300, 4, 1))
    scale, move = torch.tensor([1.0, 2.0, 0.5, 3.0]), torch.tensor([0.0, 1.0, -2.0, 0.5])
    # || m ||^2 + sum (1 - s)^2 of diagonal covariances
    expected = float(move.square().sum() + (scale - 1).square().sum())
    assert frechet(a, b * scale + move) == pytest.approx(expected, rel=1e-6)
    assert frechet(a, b) == pytest.approx(0, abs=1e-8)


def test_sets_of_the_same_kind_are_near_and_others_far():
    a, b, c = normal(400, 4), normal(400, 4, 1), normal(400, 4, 2) + 3
    assert abs(kernel(a, b)["mean"]) < 0.3 < kernel(a, c)["mean"]
    assert min(precision_recall(a, b)) > 0.9 and max(precision_recall(a, c)) < 0.2
    narrow = 0.2 * b
    precision, recall = precision_recall(a, narrow)
    assert precision > 0.9 > 0.5 > recall


def test_few_pictures_are_warned_of_and_one_is_refused():
    real = normal(100, 4)
    with pytest.raises(LeftOutError, match="two pictures of either"):
        frechet(real, real[:1])
    with pytest.raises(LeftOutError, match="more than 3"):
        precision_recall(real, real[:3])
    (note,) = bias_note("FID", real, 50)
    assert "2,048" in note and f"{floor(real, 50):.3g}" in note
    assert floor(real, 50) > 0 and floor(real[:3], 50) is None
    assert bias_note("FID", normal(2048, 2), 2048) == []


def test_ssim_and_mse_agree_with_scikit_image():
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(3, 3, 24, 24, generator=generator) * 2 - 1
    b = (a + 0.3 * torch.randn(a.shape, generator=generator)).clamp(-1, 1)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    pairs = [tuple(((x + 1) / 2).numpy() for x in pair) for pair in zip(a, b, strict=True)]
    theirs = [
        structural_similarity(p, q, channel_axis=0, data_range=1, **options) for p, q in pairs
    ]
    np.testing.assert_allclose(similarity(a, b), theirs, atol=1e-5)
    theirs = [mean_squared_error(p, q) for p, q in pairs]
    np.testing.assert_allclose(squared_error(a, b), theirs, rtol=1e-5)
    grey = a.mean(dim=1, keepdim=True)
    torch.testing.assert_close(similarity(grey, grey), torch.ones(3))


def test_the_official_ssim_goes_on_in_black():
    """As the papers' script: its windows lie half outside, where all is 0."""
    a, b = torch.rand(2, 3, 16, 16) * 2 - 1, torch.rand(2, 3, 16, 16) * 2 - 1
    line = torch.arange(11.0) - 5
    line = (-(line**2) / (2 * 1.5**2)).exp()
    window = (line[:, None] * line / line.sum() ** 2).expand(3, 1, 11, 11)

    def mean(x):
        return nn.functional.conv2d(x, window, padding=5, groups=3)

    p, q = (a + 1) / 2, (b + 1) / 2
    mp, mq = mean(p), mean(q)
    vp, vq, c = mean(p * p) - mp**2, mean(q * q) - mq**2, mean(p * q) - mp * mq
    found = (2 * mp * mq + 1e-4) * (2 * c + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4))
    expected = found.flatten(1).mean(dim=1)
    torch.testing.assert_close(similarity(a, b, zeros=True), expected, atol=1e-4, rtol=0)


def test_lpips_from_a_file(tmp_path):
    with torch.device("meta"):
        shapes = torchvision.models.alexnet(weights=None).state_dict()
    generator = torch.Generator().manual_seed(0)
    state = {
        # Of what LPIPS does not use, one number is kept.
        name: torch.randn(like.shape, generator=generator) / 10
        if name.startswith("features")
        else torch.zeros(1).expand(like.shape)
        for name, like in shapes.items()
    }
    torch.save(state, tmp_path / "alexnet.pth")
    before, distance = torch.hub.get_dir(), lpips(str(tmp_path / "alexnet.pth"))
    assert torch.hub.get_dir() == before and distance.name == "LPIPS"
    a, b = torch.rand(2, 3, 64, 64) * 2 - 1, torch.rand(2, 3, 64, 64) * 2 - 1
    assert (distance(a, a) == 0).all() and (distance(a, b) > 0).all()
    # By vectors: of the memorisation table, which compares everything with everything.
    with torch.inference_mode():
        apart = (distance.vectors(a) - distance.vectors(b)).square().sum(dim=1)
    torch.testing.assert_close(apart, distance(a, b), rtol=1e-4, atol=1e-6)


GARBAGE = {
    "nothing": None,
    "empty.pth": b"",
    "words.pth": b"these are no weights\n" * 40,
    "half.pth": b"PK\x03\x04" + bytes(200),
    "pickle.pth": pickle.dumps({"x": print}),
    "list.pt": pickle.dumps([1, 2]),
    "rubbish.safetensors": b"\xff" * 64,
}


@pytest.mark.parametrize("read, flag", [(inception, "--inception"), (lpips, "--lpips")])
@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_for_weights_is_a_sentence(name, read, flag, tmp_path):
    path = tmp_path / name
    if GARBAGE[name] is not None:
        path.write_bytes(GARBAGE[name])
    with pytest.raises(ValueError, match=f"{name}.*; give by {flag}") as told:
        read(str(path))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("read, flag", [(inception, "--inception"), (lpips, "--lpips")])
def test_weights_of_another_network_are_a_sentence(read, flag, tmp_path):
    torch.save({"fc.weight": torch.zeros(3, 2)}, tmp_path / "other.pth")
    torch.save({"fc.weight": 3, "x": "word"}, tmp_path / "words.pth")
    for name in ("other", "words"):
        with pytest.raises(ValueError, match=f"weights of .*; give by {flag}"):
            read(str(tmp_path / f"{name}.pth"))


class Program(nn.Module):
    """A TorchScript that is no Inception."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_a_program_that_is_no_inception_is_a_sentence(tmp_path):
    torch.jit.script(Program()).save(str(tmp_path / "a.pt"))
    with pytest.raises(ValueError, match=r"a\.pt is a program other than .*; give by --inc"):
        inception(str(tmp_path / "a.pt"))


def test_path_lengths_are_not_taken_through_grey_levels():
    """At a step of 1e-4 no grey level changes: such features cannot see it."""
    torch.manual_seed(0)
    judge = Judge(small_cnn(2).eval(), ["a"], 16)
    coarse = Features("Inception", lambda x: x.flatten(1), levels=True)
    makers = {"features": lambda: coarse}
    assert Tools(makers).distance is PIXELS
    assert Tools(makers | {"judge": lambda: judge}).distance.name == "judge's features"
    fine = Features("own", lambda x: x.flatten(1))
    assert Tools({"features": lambda: fine}).distance.name == "own's features"
    a = torch.rand(2, 3, 16, 16) * 1.9 - 0.95
    found = Tools(makers | {"judge": lambda: judge}).distance(a, a + 1e-4)
    assert (found > 0).all()


def test_inception_from_all_layouts(tmp_path, monkeypatch):
    """State dictionary, safetensors and TorchScript; torchvision's network is refused."""
    from torch_fidelity import feature_extractor_inceptionv3 as module

    class Small(nn.Module):
        def __init__(self, name, features, path=None):
            super().__init__()
            self.fc = nn.Linear(3, 5)
            self.load_state_dict(torch.load(path))

        def forward(self, x):
            return (self.fc(x.float().mean(dim=(2, 3)) / 255),)

    class Script(nn.Module):
        def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
            return x.float().mean(dim=(2, 3))

    monkeypatch.setattr(module, "FeatureExtractorInceptionV3", Small)
    weights, pictures = nn.Linear(3, 5).state_dict(), torch.rand(4, 1, 8, 8) * 2 - 1
    weights = {f"fc.{key}": value for key, value in weights.items()}
    torch.save(weights, tmp_path / "a.pth")
    save_file(weights, tmp_path / "a.safetensors")
    torch.jit.script(Script()).save(tmp_path / "a.pt")
    first = inception(str(tmp_path / "a.pth"))
    assert first.title == "FID" and first(pictures).shape == (4, 5)
    torch.testing.assert_close(
        inception(str(tmp_path / "a.safetensors"))(pictures), first(pictures)
    )
    grey = ((pictures + 1) * 127.5).round().double().mean(dim=(2, 3)).expand(-1, 3)
    torch.testing.assert_close(inception(str(tmp_path / "a.pt"))(pictures), grey, rtol=1e-5, atol=0)
    torch.save({"other": torch.zeros(1)}, tmp_path / "b.pth")
    with pytest.raises(ValueError, match="not the weights of FID's Inception"):
        inception(str(tmp_path / "b.pth"))
    with pytest.raises(ValueError, match="there is no file"):
        inception(str(tmp_path / "c.pth"))


@pytest.mark.parametrize("name", ["inception", "dinov2"])
def test_no_network_is_a_sentence(name, monkeypatch):
    from torch_fidelity import feature_extractor_inceptionv3 as module

    def nowhere(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(module, "FeatureExtractorInceptionV3", nowhere)
    monkeypatch.setattr(torch.hub, "load", nowhere)
    with pytest.raises(ValueError, match=r"cannot be downloaded here .*give them by .*--"):
        load_features(name, None)


def brightness(pictures):
    """Features of one's own, by a dotted name."""
    return pictures.mean(dim=(2, 3))


def test_features_are_named_after_what_made_them():
    torch.manual_seed(0)
    judge = Judge(small_cnn(2).eval(), ["a", "b"], 32)
    features = judge_features(judge)
    assert features.title == "Fréchet distance (judge)"
    pictures = torch.rand(3, 1, 16, 16) * 2 - 1
    assert features(pictures).shape == (3, 256)
    own = load_features("tests.test_evaluation_metrics:brightness", None)
    assert own.title == "Fréchet distance (test_evaluation_metrics:brightness)"
    with pytest.raises(ValueError, match="nothing"):
        load_features("tests.nothing:at_all", None)
    with pytest.raises(ValueError, match="without labels"):
        load_features("judge", None)
    distance = feature_distance(Features("colour", brightness))
    assert distance(pictures, pictures).abs().max() < 1e-6


def test_the_path_length_of_a_linear_decoder():
    a, b = torch.rand(5, 3, 8, 8, dtype=torch.float64), torch.rand(5, 3, 8, 8, dtype=torch.float64)

    def picture_at(weights):
        return torch.lerp(a, b, weights.double()[:, None, None, None])

    found = path_length(picture_at, torch.rand(5, dtype=torch.float64), PIXELS)
    torch.testing.assert_close(found, squared_error(b, a), rtol=1e-6, atol=0)


class LinearFamily:
    """A shift that is linear in z, or not."""

    def __init__(self, power):
        self.power = power

    def denoiser(self, z, scale=1.0):
        return lambda x, t: (
            scale * z.mean(dim=1)[:, None, None, None] ** self.power * torch.ones(1, *x.shape[1:])
        )


@pytest.mark.parametrize("power, expected", [(1, 0), (2, None)])
def test_linearity_of_the_shift(power, expected):
    model = Model("tiny", tiny_bundle(), torch.device("cpu"))
    model.__dict__["family"] = LinearFamily(power)
    z = torch.rand(2, 3, 8)
    found = linearity(model, torch.rand(3, 3, 16, 16), z)
    if expected == 0:
        assert max(values.max() for values in found.values()) < 1e-5
    else:
        a, b = z.mean(dim=2)
        # of z^2: ((a - b) / 2)^2 lacks of the middle's square
        ratio = ((a - b) / 2) ** 2 / ((a + b) / 2) ** 2
        torch.testing.assert_close(found["the shift"], ratio, rtol=1e-4, atol=1e-5)


def test_attributes_agree_with_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(120, 4, generator=generator)
    noisy = z[:, 0] + 0.5 * torch.randn(120, generator=generator)
    rows = [{"a": str(int(x > 0)), "n": str(float(3 * x + 1)), "one": "1"} for x in noisy]
    parts = (z[:80], rows[:80]), (z[80:], rows[80:])
    row = classified("a", *parts)
    assert 0.8 < row["AUROC"]["mean"] <= 1 and row["tested"] == 40
    # Hanley and McNeil 1982 give such errors in closed form; 0.9 of 20 and 20 has one of 0.05.
    assert 0.01 < row["AUROC"]["error"] < 0.1
    truth = [int(r["a"]) for r in rows[80:]]
    plain = LogisticRegression(C=0.01, max_iter=1000, class_weight="balanced")
    theirs = make_pipeline(StandardScaler(), plain)
    theirs.fit(z[:80].numpy(), [int(r["a"]) for r in rows[:80]])
    scores = theirs.decision_function(z[80:].numpy())
    assert row["AUROC"]["mean"] == pytest.approx(roc_auc_score(truth, scores), abs=0.005)
    precision = average_precision_score(truth, scores)
    assert row["average precision"]["mean"] == pytest.approx(precision, abs=0.005)
    number = regressed("n", *parts)
    assert number["Pearson r"]["mean"] == pytest.approx(
        np.corrcoef(z[80:, 0], noisy[80:])[0, 1], abs=0.05
    )
    assert "too few pictures of one kind" in classified("one", *parts)
    means = averaged(
        [
            {"AUROC": 0.5, "average precision": 0.1, "positives": 1},
            {"AUROC": 1.0, "average precision": 0.5, "positives": 3},
        ]
    )
    assert [m["AUROC"] for m in means] == [0.75, 0.875]


def test_an_oracle_editor_and_one_that_does_nothing():
    real = torch.tensor([[0.2, 0.5], [0.8, 0.5]])
    still, moved = torch.full((3, 4, 2), 0.5), torch.full((3, 4, 2), 0.5)
    moved[0, :, 0], moved[2, :, 0] = 0.2, 0.8
    same = torch.ones(3, 4)
    values = (-1.0, 0.0, 1.0)
    (nothing,) = curve(Verdicts("a", still, same, values), ["a", "b"], real)
    (oracle,) = curve(Verdicts("a", moved, same, values), ["a", "b"], real)
    assert nothing["carried"] == 0 and oracle["carried"] == pytest.approx(1)
    assert nothing["identity"] == 1 and nothing["leak"] == oracle["leak"] == 0


def test_a_model_that_copies_training_pictures_is_flagged():
    train, held_out, new = (normal(300, 6, seed).float() for seed in (1, 2, 3))
    copied, places = verdict((train[200:220] + 0.01, train, held_out), lambda x: x)
    assert copied["flagged"] == "yes" and copied["nearer to training"] == 1
    assert places == list(range(200, 220))
    honest, _ = verdict((new[:20], train, held_out), lambda x: x)
    assert honest["flagged"] == "no" and honest["expected"] == 0.5
    assert copied["to training"]["mean"] < honest["to training"]["mean"]


def test_a_detector_is_at_chance_on_real_against_real_and_sees_what_is_plain():
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(96, 1, 16, 16, generator=generator) * 2 - 1
    config = ClassifierConfig(epochs=1)
    same = detected(pictures[::2], pictures[1::2], config, size=16, rounds=1)["accuracy"]
    assert abs(same["mean"] - 0.5) < 0.25
    plain = detected(pictures[::2], pictures[1::2] * 0.1, config, size=16, rounds=1)["accuracy"]
    assert plain["mean"] > 0.9


def test_the_few_shot_rule():
    p = torch.cat([torch.full((4000,), 0.49), torch.full((4000,), 0.6), torch.ones(10)])
    found = accepted(p, seed=0)
    assert not found[:4000].any() and found[8000:].all()
    assert float(found[4000:8000].float().mean()) == pytest.approx(0.6, abs=0.03)


def test_shifted_pictures_move_and_go_on_at_the_border():
    x = torch.arange(8.0).expand(1, 1, 8, 8)
    assert shifted(x, 1 / 4)[0, 0, 0].tolist() == [0, 0, 0, 1, 2, 3, 4, 5]


def test_a_judge_that_has_seen_the_test_pictures_is_refused():
    judge = Judge(nn.Identity(), ["a"], 8, frozenset({"x", "y"}))
    check_unseen(judge, {"z"})
    with pytest.raises(ValueError, match="learned from 1 of the 2 test pictures"):
        check_unseen(judge, {"x", "z"})


def test_cells():
    assert with_error([1.0, 3.0]) == {"mean": 2.0, "error": 1.0}
    assert with_error([1.0]) == {"mean": 1.0, "error": None}
    assert written(with_error([1.0])) == "1" and written(0.0) == "0"
    assert written({"mean": 1.0, "error": 1.6e-17}) == "1 ± 0"
    assert written({"mean": 0.12345, "error": 0.0123}) == "0.1235 ± 0.012"
    assert [written(c) for c in (None, 3, "a", 1e-5, 12.3456)] == [
        "",
        "3",
        "a",
        "1.00e-05",
        "12.35",
    ]
    assert math.isclose(with_error(torch.tensor([0.0, 1.0]))["mean"], 0.5)
