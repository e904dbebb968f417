"""How a run goes on: from which checkpoint, with which settings, and alone."""

from collections.abc import Callable, Mapping
from pathlib import Path

from pdae_app.locks import HeldError, take_lock
from training.checkpoints import CheckpointError, checkpoints, read_checkpoint

# What a checkpoint remembers of its configuration, and of that, what has to stay as it is.
COMPARED = ("seed", "learning_rate", "warmup", "decay", "weight_decay", "clip", "ema")
MEANINGS = {"total_batch": "a batch of all processes of", "seed": "loop.seed"}


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why, and what to do."""


def newest(out: str, tell: Callable[[str], None]) -> tuple[Path | None, dict | None, list[Path]]:
    """The newest checkpoint that can be read, its state, and the damaged ones after it.

    Raises:
        TrainingError: there are checkpoints, and none can be read.
    """
    damaged = []
    for path in reversed(checkpoints(out)):
        try:
            return path, read_checkpoint(path), damaged
        except CheckpointError as error:
            damaged.append(path)
            tell(f"{error}; the one before it is tried")
    if damaged:
        raise TrainingError(
            f"no checkpoint in {out} can be read; choose another loop.out, or delete them to begin "
            "anew"
        )
    return None, None, []


def compare(path: Path, before: Mapping | None, now: Mapping, tell: Callable[[str], None]) -> None:
    """Refuse what would change the meaning of the pictures seen; tell what else has changed.

    Args:
        before: the settings that the checkpoint remembers; those of earlier versions none.

    Raises:
        TrainingError: a setting of `MEANINGS` is another.
    """
    changed = {key: value for key, value in (before or {}).items() if value != now.get(key)}
    for key, meaning in MEANINGS.items():
        if key in changed:
            raise TrainingError(
                f"{path} was made with {meaning} {changed[key]}, now it is {now[key]}: the "
                "pictures seen would not be what they were. Set it back, or choose another "
                "loop.out."
            )
    for key, value in changed.items():
        tell(f"loop.{key} was {value}, and is {now.get(key)} now")


def lock_folder(out: str) -> int | None:
    """Keep other runs out of a run's folder: a handle for `os.close`, or None.

    Raises:
        TrainingError: another run is in it.
    """
    lock = Path(out) / ".lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    try:
        return take_lock(lock)
    except HeldError as error:
        raise TrainingError(
            f"another run is writing to {out}; stop it, or choose another loop.out"
        ) from error
