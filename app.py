"""Start the app: `python app.py`, then open the address that it prints.

A Hugging Face Space and a container set it up by environment variables instead: see README.
"""

import argparse
import os
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from pdae_app.private_folder import private_folder
from pdae_app.threads import wait_patiently

wait_patiently(os.environ)
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# Gradio reads it when it is imported, hence here.
os.environ["GRADIO_TEMP_DIR"] = private_folder(os.environ.get("GRADIO_TEMP_DIR"))

if os.environ.get("SPACES_ZERO_GPU"):
    # Before torch, whose CUDA it stands in for: else the model is put on the CPU.
    import spaces  # noqa: F401

from PIL import Image

from pdae_app.bundle import BundleError
from pdae_app.engine import EditError, Editor
from pdae_app.export.credentials import CredentialsError, signed_still
from pdae_app.export.provenance import Provenance
from pdae_app.limits import LimitError, Limits
from pdae_app.ui.app import build, launch
from pdae_app.ui.events import ModelWorkers
from pdae_app.ui.models import Models, bundles_in
from pdae_app.ui.workers import devices

CHECKPOINTS = Path(__file__).resolve().parent / "checkpoints"


def parse() -> argparse.Namespace:
    """The command line; environment variables give the defaults."""
    known = os.environ
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model",
        default=known.get("PDAE_MODEL", str(CHECKPOINTS / "faces128")),
        help="a bundle: folder or Hub owner/name (PDAE_MODEL)",
    )
    parser.add_argument("--revision", help="branch, tag or commit of a Hub model")
    parser.add_argument(
        "--models",
        nargs="*",
        default=known.get("PDAE_MODELS", "").split(),
        help="more models to choose from, beside those in checkpoints/ (PDAE_MODELS)",
    )
    parser.add_argument(
        "--any-model",
        action="store_true",
        default=known.get("PDAE_ANY_MODEL") == "1",
        help="let visitors name any model of the Hub (PDAE_ANY_MODEL=1)",
    )
    parser.add_argument("--device", help="cpu, cuda or mps (default: the best there is)")
    parser.add_argument(
        "--workers",
        type=int,
        default=known.get("PDAE_WORKERS", "1"),
        help="requests at a time, each on a GPU of its own as far as there are (PDAE_WORKERS)",
    )
    parser.add_argument("--precision", default="auto", help="auto (half on GPUs), float32, or half")
    parser.add_argument("--compile", action="store_true", help="compile the networks: slower start")
    parser.add_argument("--host", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    parser.add_argument("--mcp", action="store_true", help="serve the endpoints as MCP tools too")
    return parser.parse_args()


def try_credentials() -> None:
    """Sign a picture that nobody sees: a wrong certificate is told now, not to a visitor."""
    signed_still(Image.new("RGB", (16, 16)), Provenance("trial"))


def load(arguments: argparse.Namespace, device: str) -> Editor:
    """The model that the page opens with, on a device."""
    editor = Editor.from_pretrained(
        arguments.model,
        revision=arguments.revision,
        device=device,
        precision=arguments.precision,
    )
    return editor.compile() if arguments.compile else editor


def main() -> int:
    """Load the model and serve the page; the exit code."""
    arguments = parse()
    if arguments.mcp and find_spec("mcp") is None:
        print('error: --mcp needs Gradio\'s extra: pip install "gradio[mcp]"', file=sys.stderr)
        return 1
    try:
        limits = Limits.of()
        try_credentials()
        model = ModelWorkers(devices(arguments.device, arguments.workers))
        editor, *copies = model.each(partial(load, arguments))
        limits.check_start()
    except (BundleError, CredentialsError, EditError, LimitError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    places = [*bundles_in(CHECKPOINTS), *arguments.models]
    models = Models(
        editor,
        places,
        free=arguments.any_model,
        precision=arguments.precision,
        model=model,
        copies=copies,
    )
    options = {"mcp_server": True} if arguments.mcp else {}
    launch(build(models, model), arguments.host, arguments.port, **options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
