"""The decoder of a first stage, trained further under everything that stands on its states."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pdae_app.bundle import load_bundle, save_bundle
from tests.tiny import tiny_latent_bundle
from training.adversary import Discriminator, adversarial_loss
from training.data import DataConfig
from training.dry_run import describe_run
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


def test_half_of_a_batch_is_painted_at_the_times_drawn():
    objective, asked = objective_of(tiny_latent_bundle(), softened=0.5, steps=3), []
    unet = objective.bundle.unet.encoder
    unet.register_forward_pre_hook(lambda module, given: asked.append(given[1].tolist()))
    noise, t = objective.draw(PICTURES.shape, torch.device("cpu"))
    assert t.shape == (4, 3) and (t.diff() <= 0).all()
    assert int(t.min()) >= 0 and int(t.max()) <= objective.bundle.process.at(0.5)
    objective(PICTURES, noise, t)
    assert asked == t[2:].T.tolist()


def test_painted_states_follow_the_pictures_codes():
    """From so much noise that nothing of the picture is left, its code alone speaks."""
    objective = objective_of(tiny_latent_bundle(), softened=1.0, steps=2)
    t = torch.tensor([[objective.bundle.process.most, 10]]).expand(2, -1)
    states, noise = torch.zeros(2, 4, 16, 16), torch.randn(1, 4, 16, 16).expand(2, -1, -1, -1)
    twice, two = PICTURES[[0, 0]], PICTURES[:2]
    same, other = (objective.painted(pictures, states, noise, t) for pictures in (twice, two))
    assert torch.allclose(same[0], same[1]) and not torch.allclose(other[0], other[1])


def test_the_noisiest_time_is_no_pure_noise():
    objective = objective_of(tiny_latent_bundle(), softened=1.0)
    most = objective.bundle.process.most
    t = torch.full((4, 1), most)
    assert torch.isfinite(objective(PICTURES, torch.randn(4, 4, 16, 16), t))
    for _ in range(20):
        assert int(objective.draw(PICTURES.shape, t.device)[1].max()) <= most


@pytest.mark.parametrize(
    "wrong", [{"softened": 1.5}, {"steps": 0}, {"batch_size": 3}, {"accumulate": 4}]
)
def test_what_cannot_be_halved_or_softened_is_refused(wrong):
    own = {name: wrong[name] for name in ("softened", "steps") if name in wrong}
    loop = LoopConfig("", 64, **{"batch_size": 4} | {k: wrong[k] for k in wrong.keys() - own})
    with pytest.raises(ValueError, match=r"softened|steps must be 1"):
        DecoderTrainConfig("", DataConfig(""), loop, "", **own)


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    """The discriminator's power iterations too."""
    losses = []
    for stops in ([5], [3, 5]):
        torch.manual_seed(1)
        done, out = [], str(tmp_path / str(len(stops)))
        for stop in stops:
            objective = objective_of(tiny_latent_bundle()).train()
            run = Run(replace(objective.config.loop, out=out), objective)
            run.resume()
            done += [float(run.step(objective, PICTURES)[0]) for _ in range(stop - run.steps)]
            run.save()
        losses.append(done)
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_the_dry_run_describes_it():
    objective = objective_of(tiny_latent_bundle())
    assert "frozen: 108,188 parameters" in describe_run(
        objective.config.loop, objective, (3, 32, 32)
    )


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
        assert bool(changed) == (part == "first_stage")
        assert all(name.startswith("decoder.") for name in changed)
    assert after.latents.attributes == kept.latents.attributes
    for name, tensor in kept.latents.tensors().items():
        assert torch.equal(after.latents.tensors()[name], tensor)
