"""The commands that make sliders of one's own, and put them into a bundle."""

import argparse
import sys
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from pdae_app.bundle import save_bundle
from pdae_app.cli_common import command_of, editor_of, write
from pdae_app.engine import EditError, Editor
from pdae_app.engine.own_slider import (
    NumbersRequest,
    PairsRequest,
    SliderRequest,
    fit_slider,
    parse_numbers,
    score_in_words,
)
from pdae_app.engine.quality import FAST
from pdae_app.engine.sliders import load_slider_for, save_slider_for
from pdae_app.engine.unnamed import resembled, strips, unnamed_directions
from pdae_app.export.credentials import signed_still
from pdae_app.export.files import side_by_side
from pdae_app.export.provenance import Provenance
from pdae_app.latents.few_shot import FewShot
from pdae_app.latents.own_directions import KINDS
from pdae_app.whole import whole_file

# Side of a strip's pictures, in pixels.
STRIP_SIDE = 192


def add_commands(commands) -> None:
    """Add `make-slider`, `directions` and `add-slider`."""
    _add_make(commands)
    _add_directions(commands)
    command = command_of(
        commands, "add-slider", add_slider, "put a slider of your own into a bundle"
    )
    command.add_argument("file", help="by make-slider, or downloaded from “Your own slider”")


def _add_make(commands) -> None:
    command = command_of(commands, "make-slider", make_slider, "a slider of your own, as a file")
    command.add_argument("name", help="of the slider")
    command.add_argument("-o", "--out", required=True, help="a file NAME.safetensors")
    files = {"nargs": "+", "default": [], "metavar": "PICTURE"}
    command.add_argument("--having", help="five or more that have it", **files)
    command.add_argument("--lacking", help="five or more that do not", **files)
    command.add_argument("--before", help="or: four or more before", **files)
    command.add_argument("--after", help="and after, in the same order", **files)
    command.add_argument(
        "--hold", nargs="+", default=[], metavar="NAME", help="what pairs are to leave alone"
    )
    command.add_argument("--numbers", metavar="CSV", help="or: a table of lines picture,number")


def _add_directions(commands) -> None:
    command = command_of(
        commands, "directions", directions, "sliders without labels, each as a file and a strip"
    )
    command.add_argument("--kind", choices=KINDS, default=KINDS[0])
    command.add_argument("--count", type=int, default=6)
    command.add_argument("--photo", help="whom the strips show (default: a person made up)")
    command.add_argument("-o", "--out", required=True, help="folder")


def make_slider(parsed: argparse.Namespace) -> None:
    """Make a slider from two kinds of pictures, from pairs, or from numbers."""
    request, editor = _slider_request(parsed), editor_of(parsed)
    *_, step = tqdm(fit_slider(editor, request), unit="picture", leave=False)
    for skipped in step.skipped:
        print(f"skipped: {skipped}", file=sys.stderr)
    _write_slider(editor, step.fitted, Path(parsed.out))
    print(score_in_words(step.fitted))


def _slider_request(
    parsed: argparse.Namespace,
) -> SliderRequest | PairsRequest | NumbersRequest:
    """What the options ask for; they name exactly one way."""
    given = [parsed.having or parsed.lacking, parsed.before or parsed.after, parsed.numbers]
    if sum(map(bool, given)) != 1:
        raise EditError("Give one of: --having with --lacking, --before with --after, --numbers.")
    if parsed.numbers:
        table = Path(parsed.numbers)
        numbers = parse_numbers(table.read_text())
        return NumbersRequest(parsed.name, [str(table.parent / name) for name in numbers], numbers)
    if parsed.before or parsed.after:
        return PairsRequest(parsed.name, parsed.before, parsed.after, parsed.hold)
    return SliderRequest(parsed.name, parsed.having, parsed.lacking)


def directions(parsed: argparse.Namespace) -> None:
    """Find directions and write each as a slider's file, with a strip beside it."""
    editor, out = editor_of(parsed), Path(parsed.out)
    found = unnamed_directions(editor, parsed.kind, parsed.count)
    code = editor.encode(parsed.photo, FAST) if parsed.photo else editor.draw(0).code
    for direction, strip in zip(found, strips(editor, code, found, FAST), strict=True):
        name = direction.attribute.name
        stem = out / name.lower().replace(" ", "-")
        _write_slider(editor, direction, stem.with_suffix(".safetensors"))
        sheet = side_by_side([p.resize([STRIP_SIDE] * 2, Image.Resampling.BICUBIC) for p in strip])
        recipe = Provenance(editor.title, {"strip": name}, from_photo=bool(parsed.photo))
        write(stem.with_suffix(".png"), signed_still(sheet, recipe))
        near = resembled(editor, direction)
        print(f"{name}: {score_in_words(direction)}" + (f" Close to {near}." if near else ""))


def _write_slider(editor: Editor, fitted: FewShot, path: Path) -> None:
    if path.suffix != ".safetensors":
        raise EditError(f"{path} must end in .safetensors.")
    with whole_file(path) as partial:
        save_slider_for(editor.bundle, fitted, partial)
    print(path)


def add_slider(parsed: argparse.Namespace) -> None:
    """Put a slider into a local bundle."""
    if not Path(parsed.model).is_dir():
        raise EditError(f"{parsed.model} is no folder; a slider goes into a local bundle.")
    editor = Editor.from_pretrained(parsed.model, device="cpu")
    fitted = load_slider_for(editor.bundle, parsed.file)
    save_bundle(editor.with_attributes(fitted).bundle, parsed.model)
    print(f"{fitted.attribute.name} is now a slider of {parsed.model}")
