"""Every switch of diffusers' schedulers: what it converts to samples as the scheduler does."""

import pytest
import torch

from pdae_app.bundle import Bundle, load_bundle, save_bundle
from pdae_app.convert.dpm import convert_dpm
from pdae_app.convert.errors import ConvertError
from pdae_app.convert.samples import drawn_states
from pdae_app.convert.scheduler import read_scheduler
from pdae_app.diffusion.inversion import exact_states
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.process import LinearLogSNR
from pdae_app.diffusion.schedule import LEAST_ALPHA_BAR, Schedule
from pdae_app.diffusion.solvers import ddim_states, last_x
from pdae_app.diffusion.spacing import Spacing
from pdae_app.models.unet import UNet
from tests.test_bases import QUIET, filled
from tests.tiny import UNET

diffusers = pytest.importorskip("diffusers")

LATENT = {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195}
SWITCHES = {
    "as it is": {},
    "latent diffusion": {**LATENT, "clip_sample": False},
    "stable diffusion": {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
    },
    "linear, other bounds": {"beta_start": 5e-4, "beta_end": 0.01},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "betas of its own": {
        "trained_betas": torch.linspace(2e-4, 0.03, 700).tolist(),
        "num_train_timesteps": 700,
    },
    "another length": {"num_train_timesteps": 500},
    "v": {"prediction_type": "v_prediction"},
    "x0": {"prediction_type": "sample"},
    "x0, unclipped": {"prediction_type": "sample", "clip_sample": False},
    "unclipped": {"clip_sample": False},
    "clipped wider": {"clip_sample_range": 2.5},
    "to timestep 0": {"set_alpha_to_one": False},
    "offset": {"steps_offset": 1, "set_alpha_to_one": False, "clip_sample": False},
    "trailing": {"timestep_spacing": "trailing"},
    "trailing, to timestep 0": {"timestep_spacing": "trailing", "set_alpha_to_one": False},
    "linspace": {"timestep_spacing": "linspace"},
    "linspace, v, unclipped": {
        "timestep_spacing": "linspace",
        "prediction_type": "v_prediction",
        "clip_sample": False,
    },
    "no signal at the end": {
        "rescale_betas_zero_snr": True,
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
        "clip_sample": False,
    },
    "no signal at the end, latent": {
        **LATENT,
        "rescale_betas_zero_snr": True,
        "prediction_type": "v_prediction",
        "timestep_spacing": "linspace",
    },
    "no signal at the end, x0": {
        "rescale_betas_zero_snr": True,
        "prediction_type": "sample",
        "timestep_spacing": "trailing",
    },
}


def network(x, t):
    """Stands for a U-Net; its output is of unit size and depends on place and time."""
    mixed = x.roll(1, -1) - 0.3 * x.flip(1) + (t.view(-1, 1, 1, 1) / 300).cos()
    return mixed / mixed.square().mean().sqrt()


def denoiser(diffusion):
    return lambda x, t: diffusion.eps(network(x, t), x, t)


def noise(seed=0):
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def theirs(scheduler, steps):
    scheduler.set_timesteps(steps)
    x = noise()
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t.expand(len(x))), t, x).prev_sample
    return x


def ours(settings, steps):
    said = []
    read = read_scheduler(settings, said.append)
    process, spacing = read.diffusion.schedule, read.spacing
    states = ddim_states(
        denoiser(read.diffusion),
        noise(),
        process,
        spacing.levels(process, steps),
        clip_x0=spacing.clip_x0,
        ends=spacing.ends(process, steps),
    )
    return last_x(states)


@pytest.mark.parametrize("steps", [20, 7])
@pytest.mark.parametrize("settings", SWITCHES.values(), ids=SWITCHES)
def test_a_sample_is_that_of_the_scheduler(settings, steps):
    scheduler = diffusers.DDIMScheduler(**settings)
    expected = theirs(scheduler, steps)
    config = {**scheduler.config, "_class_name": "DDIMScheduler"}
    # In float32 two orders of adding differ by up to 2e-4 on some processors.
    torch.testing.assert_close(ours(config, steps), expected, atol=3e-4, rtol=3e-4)
    # The table would prove little if a switch changed nothing.
    default = theirs(diffusers.DDIMScheduler(), steps)
    assert settings == {} or (default - expected).abs().max() > 1e-3


@pytest.fixture(scope="module")
def unet():
    """Of one resolution, so that twenty steps take a moment."""
    network = diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(32,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        layers_per_block=1,
    )
    # A random network does not denoise; a large output would make much of the last bits.
    filled(network).conv_out.weight.data *= 0.01
    return network


@pytest.mark.parametrize("settings", SWITCHES.values(), ids=SWITCHES)
def test_a_pipeline_draws_what_diffusers_own_draws(settings, unet, tmp_path):
    """Converted, written, read again; against `DDIMPipeline` as it is called, of 20 steps."""
    pipeline = diffusers.DDIMPipeline(unet, diffusers.DDIMScheduler(**settings))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(tmp_path / "p")
    save_bundle(convert_dpm(tmp_path / "p", QUIET), tmp_path / "b", torch.float32)
    bundle = load_bundle(tmp_path / "b")
    seeded = [torch.Generator().manual_seed(5) for _ in range(2)]
    (theirs,) = pipeline(generator=seeded[0], num_inference_steps=20, output_type="np").images
    x_T = torch.randn(1, *bundle.state_shape, generator=seeded[1])
    (states,) = drawn_states(bundle, x_T, steps=20)
    ours = (states.clamp(-1, 1) / 2 + 0.5).movedim(0, -1)
    torch.testing.assert_close(ours, torch.from_numpy(theirs), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("zero_snr", [False, True])
def test_a_sample_leads_back_to_its_noise(kind, zero_snr):
    settings = {"timestep_spacing": kind, "clip_sample": False, "prediction_type": "v_prediction"}
    read = read_scheduler({**settings, "rescale_betas_zero_snr": zero_snr}, print)
    process, spacing = read.diffusion.schedule, read.spacing
    picture = noise(1).clamp(-1, 1)
    states = exact_states(
        denoiser(read.diffusion),
        picture,
        process,
        spacing.levels(process, 20, inverting=True),
        ends=spacing.ends(process, 20, inverting=True),
    )
    *_, inverted = states
    again = ddim_states(
        denoiser(read.diffusion),
        inverted.x.float(),
        process,
        spacing.levels(process, 20),
        ends=spacing.ends(process, 20),
        residuals=inverted.residuals.float(),
    )
    torch.testing.assert_close(last_x(again), picture, atol=2e-4, rtol=0)


def test_no_signal_is_left_where_none_should_be():
    schedule = Schedule("scaled_linear", 1000, 0.0015, 0.0195, zero_snr=True)
    assert schedule.alpha_bar(999) == pytest.approx(LEAST_ALPHA_BAR)
    plain = Schedule("scaled_linear", 1000, 0.0015, 0.0195)
    assert schedule.alpha_bar(0) == pytest.approx(plain.alpha_bar(0))
    assert (schedule.alpha_bars[:1000].diff() < 0).all()


REFUSED = {
    "of a flow": ({"use_flow_sigmas": True}, "not known here and may change results: use_flow"),
    "several": ({"b": 2, "a": 1}, "results: a, b"),
    "thresholding": ({"thresholding": True}, "results: thresholding"),
    "no such betas": ({"beta_schedule": "laplace"}, "beta_schedule 'laplace' is not known"),
    "no such target": ({"prediction_type": "flow"}, "prediction_type 'flow' is not known"),
    "no such spacing": ({"timestep_spacing": "odd"}, "unknown spacing 'odd'"),
    "betas of another length": ({"trained_betas": [0.1, 0.2]}, "one beta a timestep"),
    "betas beyond one": ({"beta_end": 2.0}, "betas must lie between 0 and 1"),
    "text": ({"num_train_timesteps": "many"}, "must be a whole number"),
    "offset as text": ({"steps_offset": "one"}, "cannot be used"),
    "too long": ({"num_train_timesteps": 10**9}, "timesteps must be between"),
}


@pytest.mark.parametrize(("settings", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_followed_is_refused(settings, message):
    with pytest.raises(ConvertError, match=message):
        read_scheduler(settings, print)


@pytest.mark.parametrize("kind", ["PNDMScheduler", "LMSDiscreteScheduler"])
def test_schedulers_that_do_not_clip_are_not_clipped(kind):
    said = []
    for settings in ({}, {"clip_sample": True, "clip_sample_range": 2.0}):
        assert read_scheduler({"_class_name": kind, **settings}, said.append).spacing.clip == 0
    assert read_scheduler({"_class_name": "DDPMScheduler"}, said.append).spacing.clip == 1
    assert all("stepped by DDIM" in line for line in said) and len(said) == 2


def test_what_is_off_changes_nothing():
    said = []
    off = {"use_flow_sigmas": False, "thresholding": None, "_name_or_path": "x"}
    assert read_scheduler(off, said.append) == read_scheduler({}, said.append) and not said
    read_scheduler({"_class_name": "PNDMScheduler", "skip_prk_steps": True}, said.append)
    assert "PNDMScheduler is stepped by DDIM" in said[0]


def test_steps_that_a_spacing_has_not():
    with pytest.raises(ValueError, match="begin beyond the last timestep"):
        Spacing(offset=1).levels(Schedule(), 1000)
    with pytest.raises(ValueError, match="between 1 and 1000"):
        Spacing().levels(Schedule(), 1001)
    with pytest.raises(ValueError, match="whole timesteps"):
        Spacing().levels(LinearLogSNR(), 10)


def test_a_bundle_keeps_its_spacing(tmp_path):
    spacing = Spacing("trailing", to_clean=False, clip=1.5)
    schedule = Schedule("given", 3, given=(0.1, 0.2, 0.3))
    diffusion = Diffusion(schedule, "v", "v")
    bundle = Bundle(UNet(UNET), diffusion, stepping="spacing", spacing=spacing)
    save_bundle(bundle, tmp_path / "b")
    back = load_bundle(tmp_path / "b")
    assert (back.spacing, back.stepping, back.process) == (spacing, "spacing", schedule)
