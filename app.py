"""Start the app: `python app.py`, then open the address that it prints."""

import argparse
import os
import sys

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from pdae_app.bundle import BundleError
from pdae_app.engine import EditError, Editor
from pdae_app.ui.app import build, launch
from pdae_app.ui.events import ModelThread

DEFAULT_MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "checkpoints", "faces64")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a bundle: folder or Hub owner/name")
    parser.add_argument("--revision", help="branch, tag or commit of a Hub model")
    parser.add_argument("--device", help="cpu, cuda or mps (default: the best there is)")
    parser.add_argument("--precision", default="auto", help="auto (half on GPUs), float32, or half")
    parser.add_argument("--compile", action="store_true", help="compile the networks: slower start")
    parser.add_argument("--host", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    return parser.parse_args()


def main() -> int:
    """Load the model and serve the page; the exit code."""
    arguments, model = parse(), ModelThread()
    try:
        editor = model.call(
            Editor.from_pretrained,
            arguments.model,
            revision=arguments.revision,
            device=arguments.device,
            precision=arguments.precision,
        )
        if arguments.compile:
            model.call(editor.compile)
    except (BundleError, EditError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    launch(build(editor, model), arguments.host, arguments.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
