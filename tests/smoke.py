"""Training in seconds: the configurations `smoke`, and the scripts run with them."""

import io
import os
import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from pdae_app.ui.session import EXAMPLES
from training import config as training_config
from training.data import AugmentedSquares, load_pictures
from training.loop import train
from training.train_dpm import DpmConfig, DpmObjective

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "training" / "configs"
FACES = str(EXAMPLES[0].parent)


def load(cls, name, *overrides):
    return training_config.load(cls, CONFIGS / name, list(overrides))


def run_dpm(tmp_path, faces, name, pictures):
    config = load(DpmConfig, "smoke/dpm.yaml", f"loop.out={tmp_path / name}", "unet.dropout=0.1")
    config = replace(config, loop=replace(config.loop, pictures=pictures, sample_every=10**9))
    torch.manual_seed(0)
    objective = DpmObjective(config)
    train(config.loop, objective, AugmentedSquares(load_pictures(faces, 32), faces, 32))
    return config, objective.unet.state_dict()


def launch(script, *arguments, launcher=(sys.executable,)):
    command = [*launcher, f"training/{script}", *map(str, arguments)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


# As README says: accelerate's launcher, and torch's for several processes on one CPU.
ACCELERATE = (sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


@dataclass(frozen=True)
class Done:
    """What a script left, as `subprocess.run` has it."""

    returncode: int
    stdout: str
    stderr: str


def call(script, *arguments):
    """As `launch`, without the seconds that a new process takes to import everything."""
    code, out, err = 0, io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(ROOT)
        patch.setenv("ACCELERATE_USE_CPU", "true")
        patch.setattr(sys, "argv", [f"training/{script}", *map(str, arguments)])
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
    return Done(code, out.getvalue(), err.getvalue())
