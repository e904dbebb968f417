"""The decoder of a first stage, trained further under everything that stands on its states."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from pdae_app.bundle import load_bundle, save_bundle
from tests.running import ROOT
from tests.tiny import tiny_latent_bundle
from training.adversary import Discriminator, adversarial_loss
from training.data import DataConfig
from training.loop import LoopConfig, Run
from training.train_decoder import DecoderObjective, DecoderTrainConfig, with_decoder

SMALL = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
PICTURES = F.interpolate(SMALL, size=32, mode="bilinear")


def objective_of(bundle, **options):
    loop = LoopConfig("", 64, batch_size=4, learning_rate=2e-3, mixed_precision="no")
    config = DecoderTrainConfig("", DataConfig(""), loop, "", **options)
    return DecoderObjective(config, bundle, torch.empty(0))


def trained(bundle, steps, tmp_path, **options):
    objective = objective_of(bundle, **options)
    run = Run(replace(objective.config.loop, out=str(tmp_path)), objective)
    for _ in range(steps):
        run.step(objective.train(), PICTURES)
    return objective.eval()


def test_pictures_come_back_better_and_states_stay(tmp_path):
    before, bundle = tiny_latent_bundle(), tiny_latent_bundle()
    objective = trained(bundle, 100, tmp_path, adversarial=0.0)
    states = before.first_stage.encode(PICTURES)
    torch.testing.assert_close(bundle.first_stage.encode(PICTURES), states)
    worse, better = (
        (stage.decode(states) - PICTURES).square().mean()
        for stage in (before.first_stage, objective.network)
    )
    assert better < 0.7 * worse
    for own, kept in zip(bundle.unet.parameters(), before.unet.parameters(), strict=True):
        assert torch.equal(own, kept)


def test_half_of_a_batch_is_softened(monkeypatch):
    """Through x0_hat of the frozen model, which without noise is the state itself."""
    objective = objective_of(tiny_latent_bundle(), softened=0.5)
    asked = []
    monkeypatch.setattr(
        objective, "frozen", lambda x, t: asked.append(t.tolist()) or torch.zeros_like(x)
    )
    noise, parts = objective.draw(PICTURES.shape, torch.device("cpu"))
    assert float(parts.max()) <= 0.5
    parts = torch.tensor([0.1, 0.2, 0.25, 0.5])
    objective(PICTURES, noise, parts)
    times = [objective.process.at(0.25), objective.process.at(0.5)]
    assert asked == [times]


def test_each_side_of_the_adversary_has_its_own_gradient():
    judge, scale = Discriminator(3, 8).eval(), nn.Parameter(torch.tensor(0.5))
    made = scale * PICTURES.flip(0)
    adversarial_loss(judge, PICTURES, made, 2.0).backward()
    own = {name: p.grad.clone() for name, p in judge.named_parameters()}
    judge.zero_grad()
    told = torch.relu(1 - judge(PICTURES)).mean() + torch.relu(1 + judge(made.detach())).mean()
    told.backward()
    for name, p in judge.named_parameters():
        torch.testing.assert_close(own[name], p.grad)
    wanted = torch.autograd.grad(-2 * judge(scale * PICTURES.flip(0)).mean(), scale)[0]
    torch.testing.assert_close(scale.grad, wanted)


def test_without_an_adversary_there_is_none():
    objective = objective_of(tiny_latent_bundle(), adversarial=0.0)
    assert list(objective.trained()) == ["decoder"]
    assert torch.isfinite(objective(PICTURES, *objective.draw(PICTURES.shape, PICTURES.device)))


def test_the_bundle_keeps_all_the_rest(tmp_path):
    save_bundle(tiny_latent_bundle(), tmp_path / "before")
    bundle = load_bundle(tmp_path / "before")
    objective = trained(bundle, 1, tmp_path)
    once = with_decoder(bundle, objective.network, 4)
    save_bundle(with_decoder(once, objective.network, 4), tmp_path / "after")
    after, kept = load_bundle(tmp_path / "after"), load_bundle(tmp_path / "before")
    assert after.info["decoder"] == {"pictures": 8}
    for part in kept.parts:
        old, new = (b.parts[part].state_dict() for b in (kept, after))
        changed = {name for name in old if not torch.equal(old[name], new[name])}
        assert all(part == "first_stage" and name.startswith("decoder.") for name in changed)
    assert (ROOT / "training/configs/faces128/decoder.yaml").is_file()
