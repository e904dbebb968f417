"""The engine: everything that the app, the command line and scripts do with a loaded model."""

from pdae_app.engine.checks import STRONGEST
from pdae_app.engine.code import Code, EditError, Inversion, Progress
from pdae_app.engine.editor import ITERATIONS, MODES, STEPS, Editor, best_device

__all__ = [
    "ITERATIONS",
    "MODES",
    "STEPS",
    "STRONGEST",
    "Code",
    "EditError",
    "Editor",
    "Inversion",
    "Progress",
    "best_device",
]
