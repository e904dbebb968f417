"""A run killed at random moments, beside one left alone: `python -m tests.long_run OUT CACHE`.

Each attempt is a fork of this process, which has imported everything but computed nothing yet.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from training.checkpoints import checkpoints
from training.config import load
from training.data import AugmentedSquares, DataConfig, load_pictures
from training.loop import LoopConfig, train
from training.train_dpm import DpmConfig, DpmObjective

ROOT = Path(__file__).parent.parent
KILLS = 20


def run(out: Path, cache: str) -> None:
    """150 steps, a checkpoint after every second one."""
    torch.set_num_threads(1)
    config = load(DpmConfig, ROOT / "training/configs/smoke/dpm.yaml")
    data = DataConfig(str(ROOT / "pdae_app/ui/examples"), cache=cache)
    torch.manual_seed(0)
    objective = DpmObjective(config)
    loop = LoopConfig(str(out), 300, 2, workers=0, save_every=4, sample_every=10**9, ema=0.9)
    train(loop, objective, AugmentedSquares(load_pictures(data, 32), data, 32))


def forked(out: Path, cache: str) -> int:
    """The process number of a fork that does the run."""
    child = os.fork()
    if child == 0:
        run(out, cache)
        os._exit(0)
    return child


def saves(out: Path, child: int, whole: bool) -> None:
    """Wait until a run saves a checkpoint: has begun to, or has written it `whole`."""
    before = checkpoints(out)
    while checkpoints(out) == before and (whole or not list(out.glob(".partial*"))):
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "the run came to its end"
        time.sleep(0.001)


def main(out: str, cache: str) -> None:
    """One run to the end, one killed KILLS times and then left to end.

    It is killed soon after it has begun, after a checkpoint and within one, in turn, a random
    while later.
    """
    whole, killed, chance = Path(out, "whole"), Path(out, "killed"), random.Random(0)
    assert os.waitpid(forked(whole, cache), 0)[1] == 0
    interrupted = 0
    for attempt in range(KILLS):
        child = forked(killed, cache)
        if attempt % 3:
            saves(killed, child, whole=attempt % 3 == 1)
        time.sleep(chance.choice((0, chance.uniform(0, 0.02), chance.uniform(0, 0.2))))
        os.kill(child, signal.SIGKILL)
        interrupted += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        for path in checkpoints(killed):
            torch.load(path, weights_only=True)
    print("interrupted", interrupted, "at", [path.stem for path in checkpoints(killed)])
    assert os.waitpid(forked(killed, cache), 0)[1] == 0


if __name__ == "__main__":
    main(*sys.argv[1:])
