"""Edit photographs, interpolate, make new people, from the command line.

python -m pdae_app edit photo.jpg --set Smiling=1 -o out.png
"""

import argparse
import json
import sys
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from pdae_app.bundle import BundleError
from pdae_app.cli_common import command_of, editor_of, kind_of, write
from pdae_app.cli_sliders import add_commands
from pdae_app.clips import WRITERS, Clip
from pdae_app.engine import MODES, QUALITY, EditError, Editor, carry_out
from pdae_app.engine.aims import average, read_only, standing_of
from pdae_app.engine.framing import Square
from pdae_app.engine.looks import look_named
from pdae_app.engine.moving import edit_clip
from pdae_app.engine.preset import Preset, parse_sliders, read_preset
from pdae_app.engine.quality import quality_steps
from pdae_app.engine.requests import (
    EditRequest,
    GenerationRequest,
    InterpolationRequest,
    wanted_attributes,
)
from pdae_app.engine.sliders import load_slider_for
from pdae_app.export import FILMS, STILLS
from pdae_app.export.credentials import (
    FILM_MIME,
    CredentialsError,
    signed,
    signed_film,
    signed_still,
)
from pdae_app.export.names import FreeNames
from pdae_app.faces.photo import PhotoError
from pdae_app.hub import default_model
from pdae_app.latents.slider_file import SliderFileError
from pdae_app.limits import LimitError

STILL_KINDS = {suffix: kind for kind, suffix in STILLS.items()} | {".jpeg": "JPEG"}
FILM_KINDS = {suffix: kind for kind, suffix in FILMS.items()}
CLIP_KINDS = {FILMS[kind]: kind for kind in WRITERS}
DRAWING = {
    "variety": "below 1, people who are less unlike one another",
    "temperature": "of the noise; below 1, smoother pictures",
    "unguided": "last part without the code",
}
EXPECTED = (
    BundleError,
    CredentialsError,
    EditError,
    LimitError,
    PhotoError,
    SliderFileError,
    OSError,
)


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 done, 1 something could not be done, 2 the command was wrong (argparse)."""
    parsed = parser().parse_args(arguments)
    try:
        parsed.model = parsed.model or default_model()
        return parsed.run(parsed) or 0
    except EXPECTED as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser("python -m pdae_app", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_edit, _add_film, _add_interpolate, _add_generate, add_commands, _add_info):
        add(commands)
    return top


def _add_edit(commands) -> None:
    command = command_of(commands, "edit", edit, "change attributes of photographs")
    command.add_argument("photos", nargs="+", help="picture files")
    _edit_options(command)
    command.add_argument("-o", "--out", required=True, help="picture file; folder for several")
    _quality(command)


def _edit_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--set", nargs="+", default=[], metavar="NAME=STRENGTH", dest="sliders")
    command.add_argument("--look", help="a look by its name, such as older; --set changes it")
    command.add_argument("--preset", help="a preset file; --set changes it")
    command.add_argument(
        "--average", nargs="*", metavar="NAME", help="make these attributes average; all, unnamed"
    )
    command.add_argument("--like", metavar="PHOTO", help="attributes as in another photograph")
    command.add_argument(
        "--take", nargs="+", default=[], metavar="NAME", help="which ones of --like (default: all)"
    )
    command.add_argument("--slider", nargs="+", default=[], help="files of sliders of your own")
    command.add_argument("--scale", type=float, help="guidance scale (default: 1)")
    where = command.add_mutually_exclusive_group()
    where.add_argument("--face", type=int, default=1, help="which face, the largest being 1")
    where.add_argument("--center", action="store_true", help="the centre square, not a face")


def _add_film(commands) -> None:
    command = command_of(commands, "film", film, "change attributes in a short film")
    command.add_argument("film", help="an MP4, MOV, WebM or GIF file")
    _edit_options(command)
    command.add_argument("-o", "--out", required=True, help=f"film: {', '.join(CLIP_KINDS)}")
    _quality(command)


def _add_interpolate(commands) -> None:
    command = command_of(commands, "interpolate", interpolate, "from one photograph to another")
    command.add_argument("photos", nargs=2, help="picture files")
    command.add_argument("--frames", type=int, default=15)
    command.add_argument("--mode", choices=MODES, default="trajectory")
    command.add_argument("--center", action="store_true", help="the centre square, not a face")
    command.add_argument("-o", "--out", required=True, help=f"film: {', '.join(FILM_KINDS)}")
    _quality(command)


def _add_generate(commands) -> None:
    command = command_of(commands, "generate", generate, "make new people, one a seed")
    command.add_argument("--seeds", nargs="+", type=int, default=[0])
    command.add_argument("--with", nargs="+", default=[], metavar="ATTRIBUTE", dest="wanted")
    command.add_argument("--without", nargs="+", default=[], metavar="ATTRIBUTE")
    command.add_argument("--class", dest="label", help="of models that know classes")
    command.add_argument("--scale", type=float, default=1.0, help="guidance scale")
    for name, said in DRAWING.items():
        command.add_argument(f"--{name}", type=float, help=f"{said} (default: the model's own)")
    command.add_argument("-o", "--out", required=True, help="folder")
    _quality(command)


def _add_info(commands) -> None:
    command = command_of(commands, "info", info, "what a model is and can do")
    command.add_argument("--json", action="store_true", help="for programs")


def _quality(command: argparse.ArgumentParser) -> None:
    command.add_argument("--quality", choices=[q.lower() for q in QUALITY], default="fast")


def _preset(parsed: argparse.Namespace, editor: Editor) -> Preset:
    given = Preset()
    if parsed.preset:
        given = read_preset(parsed.preset, editor.attributes)
    look = look_named(parsed.look, editor.attributes) if parsed.look else {}
    sliders = {}
    for item in parsed.sliders:
        name, _, strength = item.partition("=")
        try:
            sliders[name] = float(strength)
        except ValueError as error:
            raise EditError(f"--set takes NAME=STRENGTH, such as Smiling=1; got {item}.") from error
    sliders = parse_sliders(
        {**given.sliders, **look, **parse_sliders(sliders, editor.attributes)}, editor.attributes
    )
    return Preset(sliders, given.scale if parsed.scale is None else parsed.scale, editor.title)


def edit(parsed: argparse.Namespace) -> int:
    """Edit one photograph into a file, or several into a folder."""
    out, many = Path(parsed.out), len(parsed.photos) > 1
    kind = "PNG" if many else kind_of(out, STILL_KINDS)
    editor, request = _edit_request(parsed)
    failed, free_name = 0, FreeNames(".png")
    provenance = request.provenance(editor.title)
    for outcome in carry_out.edit_many(editor, parsed.photos, request):
        if outcome.error:
            failed += 1
            hint = " The option for that is --center." if outcome.faceless else ""
            print(f"error: {outcome.name}: {outcome.error}{hint}", file=sys.stderr)
            continue
        path = out / free_name(outcome.name) if many else out
        write(path, signed_still(outcome.whole, provenance, kind))
    return 1 if failed else 0


def _edit_request(parsed: argparse.Namespace) -> tuple[Editor, EditRequest]:
    editor = editor_of(parsed)
    own = (load_slider_for(editor.bundle, path) for path in parsed.slider)
    editor = editor.with_attributes(*own)
    square = Square(parsed.face, center=parsed.center)
    steps, preset = quality_steps(parsed.quality), _preset(parsed, editor)
    return editor, EditRequest(preset, steps, square, aims=_aims(parsed, editor))


def _aims(parsed: argparse.Namespace, editor: Editor) -> dict[str, float]:
    if parsed.take and not parsed.like:
        raise EditError("--take says what is taken from the photograph of --like. Give both.")
    found = {}
    if parsed.like:
        found = standing_of(editor, read_only(editor, parsed.like), parsed.take)
    if parsed.average is not None:
        found |= average(editor, parsed.average)
    return found


def film(parsed: argparse.Namespace) -> None:
    """Edit a film, its frames being counted on a line that is written over."""
    out = Path(parsed.out)
    kind, clip = kind_of(out, CLIP_KINDS), Clip(parsed.film)
    editor, request = _edit_request(parsed)
    provenance = request.provenance(editor.title)
    with WRITERS[kind](clip, provenance) as writer:
        for moment in tqdm(edit_clip(editor, clip, request), unit="frame", leave=False):
            if moment.frame:
                writer.add(moment.frame)
        data = writer.finish()
    write(out, signed(data, FILM_MIME[kind], provenance))


def interpolate(parsed: argparse.Namespace) -> None:
    """Write the film between two photographs."""
    out = Path(parsed.out)
    kind, editor = kind_of(out, FILM_KINDS), editor_of(parsed)
    square, steps = Square(center=parsed.center), quality_steps(parsed.quality)
    request = InterpolationRequest(parsed.mode, parsed.frames, steps, square)
    codes = [carry_out.encode_end(editor, path, request) for path in parsed.photos]
    side = max(256, editor.image_size)
    frames = [
        frame.resize((side, side), Image.Resampling.BICUBIC)
        for frame in carry_out.interpolate(editor, codes, request)
    ]
    write(out, signed_film(frames, request.provenance(editor.title), kind))


def generate(parsed: argparse.Namespace) -> None:
    """Write new pictures, named by their seeds."""
    request = GenerationRequest(
        parsed.seeds,
        (parsed.scale,),
        {name: getattr(parsed, name) for name in DRAWING},
        wanted=wanted_attributes(parsed.wanted, parsed.without),
        label=parsed.label,
        steps=quality_steps(parsed.quality),
    )
    for made in carry_out.generate(editor_of(parsed), request):
        write(Path(parsed.out) / f"{made.seed}.png", signed_still(made.image, made.provenance))


def info(parsed: argparse.Namespace) -> None:
    """Print what the model is."""
    editor = editor_of(parsed)
    bundle = editor.bundle
    attributes = bundle.latents.attributes if bundle.latents else ()
    facts = {
        "model": editor.name,
        "kind": bundle.family.name,
        "image_size": editor.image_size,
        "framing": editor.framing,
        "stepping": editor.stepping,
        "attributes": {a.name: a.auroc for a in attributes},
        "classes": list(editor.classes),
        "generates": bundle.generates,
        "identity": bundle.identity,
        "info": bundle.info,
    }
    if parsed.json:
        print(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            value = "".join(f"\n  {key}: {what}" for key, what in value.items())
        print(f"{name.replace('_', ' ')}: {value}")
