"""Training: configurations, data, and what a run will cost."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pdae_app.bundle import Bundle
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.models.presets import PRESETS, preset
from pdae_app.models.unet import UNet, set_checkpointed
from pdae_app.typed_config import ConfigError
from pdae_app.ui.session import EXAMPLES
from tests.smoke import CONFIGS, FACES, ROOT, load
from tests.tiny import UNET, tiny_latents
from training import config as training_config
from training.calibrate_sliders import CalibrateConfig, corrected
from training.data import (
    AugmentedSquares,
    DataConfig,
    SeededBatches,
    load_pictures,
    plain_squares,
)
from training.dry_run import count_activations, count_operations, describe_run
from training.encode_latents import LatentsConfig
from training.evaluate_likelihood import LikelihoodConfig
from training.evaluation.card import CardConfig
from training.evaluation.overlap import OverlapConfig
from training.loop import LoopConfig, learning_rate
from training.measure_typical import TypicalConfig
from training.train_attributes import AttributesConfig
from training.train_decoder import DecoderTrainConfig
from training.train_diffae import DiffAETrainConfig
from training.train_dpm import DpmConfig, DpmObjective
from training.train_first_stage import FirstStageTrainConfig
from training.train_judge import JudgeTrainConfig
from training.train_latent_dpm import LatentDpmConfig
from training.train_pdae import PdaeObjective, PdaeTrainConfig
from training.train_vdm import VdmTrainConfig

SHIPPED = {
    "dpm": DpmConfig,
    "dpm_class": DpmConfig,
    "dpm_small": DpmConfig,
    "dpm_latent": DpmConfig,
    "first_stage": FirstStageTrainConfig,
    "decoder": DecoderTrainConfig,
    "pdae": PdaeTrainConfig,
    "pdae_class": PdaeTrainConfig,
    "pdae_latent": PdaeTrainConfig,
    "pdae_constant": PdaeTrainConfig,
    "pdae_sketch": PdaeTrainConfig,
    "pdae_more": PdaeTrainConfig,
    "pdae_on_diffenc": PdaeTrainConfig,
    "sketch": PdaeTrainConfig,
    "diffae": DiffAETrainConfig,
    "latents": LatentsConfig,
    "latent_dpm": LatentDpmConfig,
    "attributes": AttributesConfig,
    "evaluate": CardConfig,
    "vdm": VdmTrainConfig,
    "vdm_v": VdmTrainConfig,
    "vdm_v_small": VdmTrainConfig,
    "diffenc": VdmTrainConfig,
    "diffenc_small": VdmTrainConfig,
    "diffenc_fixed": VdmTrainConfig,
    "likelihood": LikelihoodConfig,
    "typical": TypicalConfig,
    "calibrate": CalibrateConfig,
    "judge": JudgeTrainConfig,
    "overlap": OverlapConfig,
}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*/*.yaml")), ids=lambda p: p.parent.name)
def test_shipped_configurations_are_valid(path):
    config = load(SHIPPED[path.stem], path.relative_to(CONFIGS))
    if path.parent.name in PRESETS and path.stem == "dpm":
        assert config.unet == preset(path.parent.name).unet
    if path.parent.name in PRESETS and path.stem == "pdae":
        assert config.encoder == preset(path.parent.name).encoder


# Millions of pictures that PDAE (its Table 1, and the names of its models) and its bases saw.
LENGTHS = {
    "ffhq128": (130, 64),
    "horse128": (130, 64),
    "bedroom128": (120, 70),
    "celeba64": (72, 38),
    "celebahq128": (52, 25),
}


# The weight decay of their latent models; the rate is 1e-3 for all.
LATENT_DECAYS = {
    "ffhq128": 0.01,
    "horse128": 0.0,
    "bedroom128": 0.0,
    "celeba64": 0.01,
    "celebahq128": 0.01,
}


@pytest.mark.parametrize("name", LATENT_DECAYS)
def test_the_papers_latent_models_have_the_official_rates(name):
    loop = load(SHIPPED["latent_dpm"], f"{name}/latent_dpm.yaml").loop
    assert (loop.learning_rate, loop.weight_decay) == (1e-3, LATENT_DECAYS[name])


@pytest.mark.parametrize("name", LENGTHS)
def test_the_papers_models_are_trained_as_in_the_papers(name):
    dpm, pdae = (
        load(cls, f"{name}/{file}.yaml").loop.pictures / 1e6
        for cls, file in ((DpmConfig, "dpm"), (PdaeTrainConfig, "pdae"))
    )
    assert (dpm, pdae) == LENGTHS[name]


def test_the_sketch_stage_wants_a_sketch():
    assert load(PdaeTrainConfig, "faces128/sketch.yaml").stage == "sketch"
    with pytest.raises(ConfigError, match="together with sketch"):
        load(PdaeTrainConfig, "smoke/pdae.yaml", "stage=sketch")


@pytest.mark.parametrize("stage", ["sketch", "pdae"])
def test_every_trained_parameter_has_a_part_in_the_loss(stage):
    """Else processes that exchange gradients wait for one that never comes."""
    config = load(
        PdaeTrainConfig, "smoke/pdae.yaml", "sketch.width=16", "sketch.blocks=1", f"stage={stage}"
    )
    size = config.encoder.image_size
    frozen = Bundle(UNet(replace(UNET, image_size=size)), Diffusion())
    objective = PdaeObjective(config, frozen)
    x_0 = torch.randn(2, 3, size, size)
    objective(x_0, *objective.draw(x_0.shape, torch.device("cpu"))).backward()
    unused = [n for n, p in objective.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused


@pytest.mark.parametrize(
    "override, message",
    [
        ("loop.batchsize=3", "did you mean 'batch_size'"),
        ("loop.batch_size=three", "loop.batch_size must be of type int"),
        ("loop.batch_size=true", "must be of type int"),
        ("loop.learning_rate=fast", "must be a number"),
        ("unet.image_size=30", "multiple of"),
        ("diffusion.prediction=noise", "known: eps"),
        ("loop", "key=value"),
    ],
)
def test_wrong_keys_and_values_are_told(override, message):
    with pytest.raises(ConfigError, match=message):
        load(DpmConfig, "smoke/dpm.yaml", override)


def test_overrides_and_scientific_notation():
    config = load(DpmConfig, "smoke/dpm.yaml", "loop.learning_rate=3e-4", "loop.seed=7")
    assert config.loop.learning_rate == 3e-4 and config.loop.seed == 7
    with pytest.raises(ConfigError, match="no configuration file"):
        training_config.load(DpmConfig, "nowhere.yaml")
    with pytest.raises(ConfigError, match="missing: unet"):
        training_config.load(DpmConfig, None)


def test_training_pictures_are_the_apps_own_squares(faces, editor):
    from PIL import Image

    pictures = load_pictures(faces, 16)
    squares = plain_squares(pictures, 16)
    assert squares.shape == (6, 3, 16, 16) and squares.abs().max() <= 1
    for row, square in zip(pictures.rows, squares, strict=True):
        app = np.asarray(editor.align(Image.open(Path(FACES) / row["file"])), float)
        ours = ((square + 1) * 127.5).permute(1, 2, 0).numpy()
        assert np.abs(app - ours).mean() < 4, row


def test_broken_pictures_are_counted_and_skipped(tmp_path, faces, capsys):
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "good.jpg").write_bytes(EXAMPLES[0].read_bytes())
    (folder / "bad.jpg").write_bytes(b"no picture")
    pictures = load_pictures(replace(faces, folder=str(folder)), 16)
    assert [row["file"] for row in pictures.rows] == ["good.jpg"]
    assert "bad.jpg" in pictures.skipped and "1 of 2 pictures skipped" in capsys.readouterr().out
    # The second reading comes from the cache and tells the same.
    assert load_pictures(replace(faces, folder=str(folder)), 16).skipped == pictures.skipped


def test_empty_sets_are_errors_at_once(tmp_path, faces):
    with pytest.raises(ValueError, match="no folder"):
        load_pictures(replace(faces, folder=str(tmp_path / "nothing")), 16)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no pictures"):
        load_pictures(replace(faces, folder=str(tmp_path / "empty")), 16)


def test_augmentation_follows_from_the_seed(faces):
    dataset = AugmentedSquares(load_pictures(faces, 16), faces, 16)
    assert torch.equal(dataset[2, 11], dataset[2, 11])
    assert not torch.equal(dataset[2, 11], dataset[2, 12])
    assert dataset[0, 1].shape == (3, 16, 16) and dataset[0, 1].abs().max() <= 1


def test_batches_can_start_anywhere_and_split_without_overlap():
    whole = list(SeededBatches(10, 4, seed=3, start=0, stop=5))
    assert list(SeededBatches(10, 4, seed=3, start=2, stop=5)) == whole[2:]
    first_epoch = [index for batch in whole for index, _ in batch][:10]
    assert sorted(first_epoch) == list(range(10))
    halves = [list(SeededBatches(10, 2, 3, 0, 5, rank, 2)) for rank in (0, 1)]
    assert [a + b for a, b in zip(*halves, strict=True)] == whole


def test_learning_rate():
    config = LoopConfig("x", 1000, learning_rate=1.0, warmup=100, decay="cosine")
    assert learning_rate(config, 0) < 0.02 and learning_rate(config, 100) > 0.9
    assert learning_rate(config, 1000) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="decay"):
        replace(config, decay="linear")


MAKE_ONCE = """
import sys, time
from pathlib import Path
from training.caches import make_once
def make():
    print("making", flush=True)
    sys.stdin.readline()
    Path(sys.argv[1]).write_text("whole")
make_once(Path(sys.argv[1]), make)
print(Path(sys.argv[1]).read_text(), flush=True)
"""


def test_of_several_processes_one_makes_a_cache_and_the_others_wait(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", MAKE_ONCE, str(tmp_path / "cache" / "states.npy")]
    processes = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(3)]
    for process in processes:  # any of them may be the one that makes it
        process.stdin.write("go on\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120)[0].split() for process in processes]
    assert sorted(said) == [["making", "whole"], ["whole"], ["whole"]]


def test_a_gain_makes_up_for_what_pictures_do_not_follow():
    space = tiny_latents()
    config = CalibrateConfig("bundle", DataConfig("pictures"), least=0.75, most=2.0)
    once = corrected(space, {"Smiling": 0.8, "Male": 0.1}, config)
    assert [a.gain for a in once.attributes] == [1.25, 2.0]
    # With the gain, the first one's pictures follow as asked: it stays.
    again = corrected(once, {"Smiling": 1.0, "Male": 1.6}, config)
    assert [a.gain for a in again.attributes] == [1.25, 1.25]


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_the_memory_estimate_counts_activations(precision, monkeypatch):
    monkeypatch.setattr("training.dry_run.own_device", lambda: "cpu")
    config = load(
        DpmConfig, "smoke/dpm.yaml", "unet.dropout=0.0", f"loop.mixed_precision={precision}"
    )
    objective = DpmObjective(config)
    empty = torch.empty(4, 3, 32, 32, device="meta")
    counted = count_activations(objective, empty, precision=precision).all
    kept = {}

    def count(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss = objective(torch.zeros(4, 3, 32, 32), *objective.draw((4, 3, 32, 32), "cpu"))
    own = {p.untyped_storage().data_ptr() for p in objective.parameters()}
    real = sum(size for key, size in kept.items() if key not in own) * int(loss.isfinite())
    assert counted == pytest.approx(real, rel=0.1)
    twice = count_activations(
        objective, torch.empty(8, 3, 32, 32, device="meta"), precision=precision
    ).all
    assert twice == pytest.approx(2 * counted, rel=0.1)
    kind = {"no": "float32", "bf16": "half precision"}[precision]
    said = describe_run(config.loop, objective, (3, 32, 32))
    assert f"kept for the backward pass in {kind}" in said


def test_the_work_of_a_step_is_that_of_a_real_one():
    config = load(DpmConfig, "smoke/dpm.yaml")
    objective = DpmObjective(config)
    counted = count_operations(objective, torch.empty(4, 3, 32, 32, device="meta"))
    # Attention as plain products: not every version of torch counts the CPU's own kernel.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as real:
        objective(torch.zeros(4, 3, 32, 32), *objective.draw((4, 3, 32, 32), "cpu")).backward()
    assert counted == real.get_total_flops()
    seconds = counted * config.loop.accumulate / 1e14
    said = describe_run(config.loop, objective, (3, 32, 32))
    assert f"{1 / seconds:,.3g} steps a second" in said  # at 100 TFLOP/s


def test_checkpointed_blocks_give_the_same_gradients_and_keep_less():
    """With dropout: what is computed again is the same, its random numbers too."""
    config = load(DpmConfig, "smoke/dpm.yaml", "unet.dropout=0.2")
    objective, gradients, sizes = DpmObjective(config).train(), [], []
    for parameter in objective.parameters():  # from zero, most gradients would be zero
        torch.nn.init.normal_(parameter, std=0.05)
    x_0, drawn = torch.randn(2, 3, 32, 32), objective.draw((2, 3, 32, 32), "cpu")
    for checkpointed in (False, True):
        set_checkpointed(objective, checkpointed)
        objective.zero_grad()
        torch.manual_seed(3)
        kept = {}

        def count(tensor, kept=kept):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            loss = objective(x_0, *drawn)
        loss.backward()
        gradients.append([p.grad.clone() for p in objective.parameters() if p.grad is not None])
        sizes.append(sum(kept.values()))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert any(gradient.abs().max() > 0 for gradient in gradients[0])
    assert sizes[1] < sizes[0] / 2
    counted = count_activations(objective, torch.empty(4, 3, 32, 32, device="meta"))
    assert counted.checkpointed < counted.all / 2
    loop = replace(config.loop, gradient_checkpointing=True)
    plain, saving = (describe_run(c, objective, (3, 32, 32)) for c in (config.loop, loop))
    assert "with loop.gradient_checkpointing=true" in plain and plain != saving


def test_the_run_on_a_gpu_has_valid_commands():
    """Every line that the script would run, with its overrides."""
    script = CONFIGS / "faces128" / "gpu.sh"
    told = subprocess.run(
        ["bash", script], env=os.environ | {"PYTHON": "echo"}, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    commands = [line.split() for line in told.stdout.splitlines() if line.startswith("training/")]
    assert len(commands) == 11
    for script, flag, config, *overrides in commands:
        assert (CONFIGS.parent.parent / script).is_file() and flag == "--config"
        path = Path(config)
        load(SHIPPED[path.stem], Path(*path.parts[-2:]), *overrides)
