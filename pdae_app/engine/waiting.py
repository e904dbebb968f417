"""How long a photograph will take to open, said before it starts."""

from pdae_app.engine.editor import Editor
from pdae_app.engine.encoding import checked_iterations
from pdae_app.engine.quality import FAST

# Below so many seconds nothing is said.
WORTH_SAYING = 20.0
# Of what is begun by a button.
WORTH_SAYING_OF_A_RUN = 2.0


def opening_seconds(editor: Editor, steps: int) -> float:
    """The seconds that a photograph takes at most on a CPU; 0 on other devices.

    Counted in evaluations of the networks: those of the inversion, and of the reconstruction.
    """
    sampler = editor.sampler
    if sampler.device.type != "cpu":
        return 0.0
    evaluations = steps * max(1, checked_iterations(sampler, None)) + steps
    return evaluations * sampler.step_seconds


def run_seconds(editor: Editor, evaluations: int, opening: bool = False) -> float:
    """The seconds that so many evaluations of the networks take at most on a CPU; 0 elsewhere.

    Args:
        opening: whether a photograph is opened before them.
    """
    if editor.sampler.device.type != "cpu":
        return 0.0
    before = opening_seconds(editor, FAST) if opening else 0.0
    return before + evaluations * editor.sampler.step_seconds


def run_sentence(seconds: float) -> str:
    """How long a run takes that somebody has just begun; nothing where it is short."""
    if seconds < WORTH_SAYING_OF_A_RUN:
        return ""
    time = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"
    return f"It takes about {time} at most on this computer."


def waiting_sentence(seconds: float) -> str:
    """What to tell somebody who will wait so long; nothing where it is short."""
    if seconds < WORTH_SAYING:
        return ""
    return (
        f"On this computer's processor it takes about {spoken(seconds)} at most; "
        "a GPU is far quicker."
    )


def spoken(seconds: float) -> str:
    """A time in words, as people say it."""
    if seconds < 50:
        return f"{max(1, round(seconds / 5)) * 5} seconds"
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes > 1 else "a minute"
