"""Whatever is in a file, only our own errors leave the program.

Small by default; PDAE_FUZZ=500000 asks for so many examples of every kind. What once broke is in
`tests.attacks` and tried first.
"""

import contextlib
import io
import json
import os

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from pdae_app.bundle import BundleError, check_config
from pdae_app.engine import EditError
from pdae_app.engine.preset import Preset, parse_preset
from pdae_app.engine.sliders import load_slider_of, save_slider_of
from pdae_app.faces.photo import PhotoError, open_photo
from pdae_app.latents.slider_file import SliderFileError
from tests.attacks import ENDLESS_EPS, corrupt_exif_jpeg, encoded, many_scans_jpeg
from tests.fuzz.mutations import HOSTILE, mutated_bytes, mutated_config

EXAMPLES = int(os.environ.get("PDAE_FUZZ", "60"))
run = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=EXAMPLES <= 60,
    suppress_health_check=list(HealthCheck),
)


def pictures():
    """Small pictures in every format that is read, in several of its ways."""
    gradient = Image.linear_gradient("L").resize((40, 30))
    colour = Image.merge("RGB", (gradient, gradient.rotate(180), gradient))
    clear = colour.copy()
    clear.putalpha(gradient)
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = [encoded(colour, kind) for kind in ("PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")]
    jpegs = [encoded(colour, "JPEG", exif=exif), encoded(colour, "JPEG", progressive=True)]
    others = [encoded(clear, "PNG"), encoded(gradient, "TIFF", compression="tiff_lzw")]
    animated = encoded(colour, "GIF", save_all=True, append_images=[colour.rotate(90)])
    return [*plain, *jpegs, *others, animated]


@given(mutated_bytes(st.sampled_from(pictures())))
@example(ENDLESS_EPS)
@example(corrupt_exif_jpeg())
@example(many_scans_jpeg(1000))
@run
def test_pictures(data):
    with contextlib.suppress(PhotoError):
        assert open_photo(data).mode == "RGB"


@pytest.fixture(scope="module")
def config(tiny_folder):
    return json.loads((tiny_folder / "config.json").read_text())


@given(data=st.data())
@run
def test_configurations(config, tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(data.draw(mutated_config(config))))
    with contextlib.suppress(BundleError):
        check_config(folder)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200),
        mutated_config(
            {"format": "pdae_app preset 1", "model": "m", "scale": 1.0, "sliders": {"Smiling": 1.0}}
        ).map(json.dumps),
    )
)
@run
def test_presets(text):
    with contextlib.suppress(EditError):
        assert isinstance(parse_preset(text, ["Smiling"]), Preset)


@pytest.fixture(scope="module")
def slider(editor, tmp_path_factory):
    path = tmp_path_factory.mktemp("sliders") / "grin.safetensors"
    codes = [editor.draw(seed, steps=5).code for seed in range(12)]
    save_slider_of(editor.bundle, editor.fit_attribute("Grin", codes[:6], codes[6:]), path)
    return path


@given(data=st.data())
@run
def test_slider_files(editor, slider, data):
    crafted = slider.with_name("crafted.safetensors")
    crafted.write_bytes(data.draw(mutated_bytes(st.just(slider.read_bytes()))))
    with contextlib.suppress(SliderFileError):
        fitted = load_slider_of(editor.bundle, crafted)
        code = editor.draw(0, steps=2).code
        assert editor.with_attributes(fitted).moved(code, {"Grin": 1.0}).z.isfinite().all()


@given(HOSTILE)
@run
def test_numbers(value):
    preset = {"format": "pdae_app preset 1", "scale": value}
    with contextlib.suppress(EditError, ValueError):
        assert 0 <= parse_preset(json.dumps(preset), []).scale <= 10


def test_the_pictures_are_whole_before_they_are_changed():
    for data in pictures():
        assert Image.open(io.BytesIO(data)).size == (40, 30) and open_photo(data).mode == "RGB"
