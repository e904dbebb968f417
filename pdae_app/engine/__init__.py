"""The engine: everything that the app, the command line and scripts do with a loaded model."""

from pdae_app.engine.checks import STRONGEST
from pdae_app.engine.code import Code, EditError, Inversion, Progress
from pdae_app.engine.editor import Editor
from pdae_app.engine.encoding import ITERATIONS
from pdae_app.engine.loaded import best_device
from pdae_app.engine.quality import BEST, FAST, QUALITY
from pdae_app.engine.rendering import MODES

__all__ = [
    "BEST",
    "FAST",
    "ITERATIONS",
    "MODES",
    "QUALITY",
    "STRONGEST",
    "Code",
    "EditError",
    "Editor",
    "Inversion",
    "Progress",
    "best_device",
]
