"""The one training loop: accelerate, EMA, atomic checkpoints, samples; resume by running again.

Everything random in step k follows from (seed, k), and the learning rate from k; so a checkpoint is
weights, EMA, optimiser and k, and a resumed run is the uninterrupted one. Random numbers are drawn
for the batches of all processes together, and each takes its part; so n processes are one with n
times the batch.
"""

import math
import os
import sys
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.utils import save_image
from tqdm import tqdm

from pdae_app.bundle import Bundle, load_bundle, save_bundle
from pdae_app.hub import push
from pdae_app.models.unet import set_checkpointed
from pdae_app.whole import whole_file
from training.checkpoints import checkpoints, last_good, set_aside, write_checkpoint
from training.data import SeededBatches
from training.ema import Ema, averaged, copy_into
from training.loop_config import LoopConfig, adamw, learning_rate
from training.metrics import Metrics
from training.objective import Objective
from training.resuming import COMPARED, TrainingError, compare, lock_folder, newest


def train(
    config: LoopConfig,
    objective: Objective,
    dataset: Dataset,
    held_out: tuple[Tensor, ...] | None = None,
) -> int:
    """Train until `config.pictures` were seen; leaves the averaged weights in `objective`.

    To resume, run the same command again. `held_out`, a batch of items, is measured whenever
    samples are drawn, a line of `validation.jsonl` each time. With `config.export` nothing is
    trained: the newest checkpoint's average is taken.

    Returns:
        How many pictures these weights have seen.

    Raises:
        TrainingError: the loss is not finite, the disk is full, or there is nothing to export.
    """
    run = Run(config, objective, held_out)
    run.resume()
    if not config.export:
        run.train(dataset)
    elif not run.steps:
        raise TrainingError(f"there is no checkpoint in {config.out} to export")
    copy_into(run.parameters, run.ema.average)
    return run.seen


class Run:
    """One training run: weights, average and optimiser, and the number of steps done."""

    def __init__(
        self,
        config: LoopConfig,
        objective: Objective,
        held_out: tuple[Tensor, ...] | None = None,
    ):
        self.config, self.objective, self.held_out = config, objective, held_out
        self.accelerator = _accelerator(config)
        objective.to(self.accelerator.device, memory_format=torch.channels_last)
        set_checkpointed(objective, config.gradient_checkpointing)
        self.parameters = {
            f"{part}.{name}": parameter
            for part, module in objective.trained().items()
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        self.buffers = {
            f"{part}.{name}": buffer
            for part, module in objective.trained().items()
            for name, buffer in module.named_buffers()
        }
        self.optimizer = adamw(config, self.parameters, objective.decayed)
        self.ema = Ema(self.parameters, config.ema, config.ema_warmup, config.ema_device)
        self.metrics = Metrics(config.out, config.log_every, self.accelerator)
        self.steps, self._lock = 0, None
        self.total_batch = config.batch_size * self.accelerator.num_processes

    @property
    def seen(self) -> int:
        """Pictures seen so far, by all processes."""
        return self.steps * self.total_batch

    def resume(self) -> None:
        """Load the newest checkpoint, if there is one."""
        path, state, damaged = newest(self.config.out, self.accelerator.print)
        if state is None:
            return
        if state["model"].keys() != self.parameters.keys():
            raise TrainingError(f"{path} belongs to another architecture; choose another loop.out")
        compare(path, state.get("config"), self._facts(), self.accelerator.print)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            for other in damaged:
                set_aside(other)
        copy_into(self.parameters, state["model"])
        copy_into(self.ema.average, state["ema"])
        copy_into(self.buffers, state.get("buffers", self.buffers))
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None and state.get("scaler"):
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.steps = state["steps"]
        self.accelerator.print(f"resuming {path}")

    def _facts(self) -> dict:
        """Of the configuration what the weights come from."""
        facts = {key: getattr(self.config, key) for key in COMPARED}
        return facts | {"total_batch": self.total_batch}

    def train(self, dataset: Dataset) -> None:
        """All remaining steps, with a progress bar; nobody else may write to this run's folder."""
        with self._alone():
            self._train(dataset)

    @contextmanager
    def _alone(self):
        if self.accelerator.is_main_process:
            self._lock = lock_folder(self.config.out)
        try:
            yield
        finally:
            self._release()

    def _release(self) -> None:
        handle, self._lock = self._lock, None
        if handle is not None:
            os.close(handle)

    def _train(self, dataset: Dataset) -> None:
        forward = torch.compile(self.objective) if self.config.compile else self.objective
        forward, self.optimizer = self.accelerator.prepare(forward, self.optimizer)
        self.objective.train()
        with self._bar() as bar:
            for batch in self.batches(dataset):
                loss, norm = self.step(forward, *(batch if isinstance(batch, list) else [batch]))
                self._note(loss, norm)
                bar.set_postfix(loss=f"{self.metrics.average:.4f}", refresh=False)
                bar.update(self.total_batch)
                if self.accelerator.is_main_process:
                    self._at_intervals()
        self.accelerator.end_training()

    def _bar(self) -> tqdm:
        return tqdm(
            total=self.config.pictures,
            initial=self.seen,
            unit="pic",
            mininterval=5,
            disable=not self.accelerator.is_main_process,
        )

    def batches(self, dataset: Dataset) -> DataLoader:
        sampler = SeededBatches(
            len(dataset),
            self.config.batch_size,
            self.config.seed,
            start=self.steps,
            stop=math.ceil(self.config.pictures / self.total_batch),
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
        )
        return DataLoader(
            dataset,
            batch_sampler=sampler,
            num_workers=self.config.workers,
            pin_memory=self.accelerator.device.type == "cuda",
            worker_init_fn=lambda _: self._begin_worker(),
        )

    def _begin_worker(self) -> None:
        """A worker has one thread, for the model needs the cores; and no share in the lock."""
        torch.set_num_threads(1)
        self._release()

    def _note(self, loss: Tensor, norm: Tensor) -> None:
        """Take down a finished step.

        Reading a number waits for the device, so on a GPU that is done now and then, and always
        before a checkpoint is written: none is of a run that had diverged.
        """
        self.metrics.add(loss, norm)
        soon = self._crossed(self.config.save_every) or self.accelerator.device.type == "cpu"
        if soon or self.steps % self.config.log_every == 0:
            rate = self.optimizer.param_groups[0]["lr"]
            bad = self.metrics.read(self.steps, self.seen, rate)
            if bad is not None:
                raise TrainingError(self._diverged(*bad))

    def step(self, forward: nn.Module, x_0: Tensor, *labels: Tensor) -> tuple[Tensor, Tensor]:
        """One optimiser step; the loss and the norm of its gradient."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, self.seen)
        device = self.accelerator.device
        layout = torch.channels_last if x_0.ndim == 4 else torch.contiguous_format
        x_0 = x_0.to(device, memory_format=layout, non_blocking=True)
        labels = [label.to(device, non_blocking=True) for label in labels]
        inputs = (x_0, *self._drawn(x_0), *labels)
        parts = zip(*(tensor.chunk(self.config.accumulate) for tensor in inputs), strict=True)
        loss = sum(
            self._backward(forward, part, last=i == self.config.accumulate - 1)
            for i, part in enumerate(parts)
        )
        norm = self.accelerator.clip_grad_norm_(
            self.parameters.values(), self.config.clip or math.inf
        )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(self.parameters, self.steps)
        self.steps += 1
        return loss, norm

    def _drawn(self, x_0: Tensor) -> list[Tensor]:
        """The part of the random numbers, which all processes draw alike, that is this one's."""
        seed, rank, own = self.config.seed, self.accelerator.process_index, len(x_0)
        torch.manual_seed(hash((seed, self.steps)) & 0x7FFFFFFF)
        shape = (own * self.accelerator.num_processes, *x_0.shape[1:])
        drawn = self.objective.draw(shape, x_0.device)
        # What the networks draw themselves (dropout) differs from process to process.
        torch.manual_seed(hash((seed, self.steps, rank)) & 0x7FFFFFFF)
        return [tensor[rank * own : (rank + 1) * own] for tensor in drawn]

    def _backward(self, forward: nn.Module, part: tuple[Tensor, ...], last: bool) -> Tensor:
        """Add a part's share to the gradients, which the processes exchange after the last."""
        wait = nullcontext() if last else self.accelerator.no_sync(forward)
        with wait:
            loss = forward(*part) / self.config.accumulate
            self.accelerator.backward(loss)
        return loss.detach()

    def _diverged(self, step: int, what: str) -> str:
        return (
            f"the {what} at step {step}; {last_good(self.config.out)}. "
            "Lower loop.learning_rate and run the command again."
        )

    def _at_intervals(self) -> None:
        """Save and draw when their intervals are crossed, and at the end."""
        if self._crossed(self.config.save_every):
            self.save()
        if self._crossed(self.config.sample_every):
            with self._average():
                self.draw()
                self.validate()

    def _crossed(self, every: int) -> bool:
        before = self.seen - self.total_batch
        return self.seen >= self.config.pictures or self.seen // every > before // every

    def save(self) -> None:
        """Write a checkpoint, whole or not at all, and prune old ones."""
        scaler = self.accelerator.scaler
        state = {
            "steps": self.steps,
            "model": {name: p.detach() for name, p in self.parameters.items()},
            "ema": self.ema.average,
            "buffers": self.buffers,
            "optimizer": self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
            "config": self._facts(),
        }
        out = Path(self.config.out)
        try:
            write_checkpoint(state, out / f"checkpoint-{self.steps:09d}.pt")
        except (OSError, RuntimeError) as error:  # torch's writer raises the latter on a full disk
            raise TrainingError(
                f"the checkpoint of step {self.steps} could not be written ({error}); "
                f"{last_good(out)}. Make room and run the command again."
            ) from error
        for old in checkpoints(out)[: -self.config.keep]:
            old.unlink()

    @contextmanager
    def _average(self):
        """Within this context, the networks are the averaged ones, and only evaluated."""
        self.objective.eval()
        with torch.inference_mode(), averaged(self.parameters, self.ema):
            yield
        self.objective.train()

    def validate(self) -> None:
        """Write down the figures of the held-out pictures."""
        if self.held_out is not None:
            batch = (part.to(self.accelerator.device) for part in self.held_out)
            figures = self.objective.validate(*batch)
            self.metrics.validation(figures, self.steps, self.seen)

    def draw(self) -> None:
        """Write a grid of samples."""
        pictures = self.objective.samples(self.accelerator.device).float().cpu()
        path = Path(self.config.out) / "samples" / f"{self.seen:09d}.png"
        pictures = pictures.clamp(-1, 1) / 2 + 0.5
        with whole_file(path) as partial:
            save_image(pictures, partial, nrow=8)
        self.metrics.pictures(pictures, self.steps)


def _accelerator(config: LoopConfig) -> Accelerator:
    try:
        accelerator = Accelerator(
            mixed_precision=config.mixed_precision or "no",
            log_with=config.tracker,
            project_dir=config.out,
        )
        if config.tracker and not accelerator.log_with:
            raise ImportError(f"{config.tracker} is not installed; pip install {config.tracker}")
        if config.tracker:
            accelerator.init_trackers("pdae_app")
    except (ValueError, ImportError) as error:
        raise TrainingError(f"loop.tracker or loop.mixed_precision: {error}") from error
    return accelerator


def finish(
    bundle: Bundle, folder: str, config: LoopConfig, keep: Callable[[], None] | None = None
) -> None:
    """Write the bundle that `app.py --model` and the next script open; upload it if asked.

    `keep` writes what else lies beside it; it is uploaded too.
    """
    if not PartialState().is_main_process:
        return
    # A likelihood is stated to more digits than half precision keeps.
    save_bundle(bundle, folder, torch.float32 if bundle.variational else None)
    if keep is not None:
        keep()
    print(f"wrote {folder}")
    if config.push_to_hub:
        print(f"uploaded: {push(load_bundle(folder), config.push_to_hub)}")


def run_script(main: Callable[[], None]) -> None:
    """Run a script's `main`; errors that people can mend are one line and exit code 1."""
    try:
        main()
    except (TrainingError, ValueError, OSError, SafetensorError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
