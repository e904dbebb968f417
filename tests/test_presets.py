"""What goes into files and comes back: presets, sliders, provenance; and undo's memory."""

import io
import json

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from pdae_app.engine import EditError
from pdae_app.engine.preset import Preset, parse_preset
from pdae_app.export import FILMS, STILLS, film, still
from pdae_app.export.provenance import Provenance
from pdae_app.latents.few_shot import fit_few_shot
from pdae_app.latents.slider_file import SliderFileError, load_slider, save_slider
from pdae_app.ui.history import KEPT, History
from tests.tiny import tiny_latents

KNOWN = ["Smiling", "Male"]


def test_a_preset_comes_back_as_it_went():
    preset = Preset({"Smiling": 1.5}, 1.2, "faces128")
    assert parse_preset(preset.to_json(), KNOWN) == preset


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a preset"),
        ('{"sliders": {}}', "not a preset"),
        ('{"format": "pdae_app preset 1", "sliders": {"Wings": 1}}', "no attribute 'Wings'"),
        ('{"format": "pdae_app preset 1", "sliders": {"Male": NaN}}', "out of range"),
        ('{"format": "pdae_app preset 1", "scale": 1e400}', "guidance scale"),
        ('{"format": "pdae_app preset 1", "scale": "1"}', "guidance scale"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (" " * 200_000, "too long"),
    ],
)
def test_what_is_no_preset_is_told(text, message):
    with pytest.raises(EditError, match=message):
        parse_preset(text, KNOWN)


@pytest.fixture
def fitted():
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(30, 8, generator=generator)
    return fit_few_shot("Grin", codes[:12] + 0.8, codes[12:], tiny_latents())


def test_a_slider_fits_whatever_normalises_the_codes(fitted, tmp_path):
    """Read with other statistics, it gives the same logits and moves z by the same."""
    space, z = tiny_latents(), torch.randn(8)
    path = tmp_path / "grin.safetensors"
    save_slider(fitted, path, space, "encoder")
    other = tiny_latents()
    other = type(other)(
        other.mean + 1, other.std * 3, other.weights, other.directions, other.attributes
    )
    read = load_slider(path, other, "encoder")
    before, after = fitted.added_to(space), read.added_to(other)
    assert float(before.logits(z)[-1]) == pytest.approx(float(after.logits(z)[-1]), abs=1e-4)
    torch.testing.assert_close(before.move(z, {"Grin": 1.0}), after.move(z, {"Grin": 1.0}))


@pytest.mark.parametrize("change", [{"name": 3}, {"bias": "much"}, {"positives": None}])
def test_a_sliders_facts_are_checked(fitted, tmp_path, change):
    path, space = tmp_path / "grin.safetensors", tiny_latents()
    save_slider(fitted, path, space, "encoder")
    with safe_open(path, "pt") as file:
        facts, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    facts["attribute"] = json.dumps(json.loads(facts["attribute"]) | change)
    save_file(tensors, path, facts)
    with pytest.raises(SliderFileError, match="damaged"):
        load_slider(path, space, "encoder")


def test_a_slider_of_another_model_or_none_is_told(fitted, tmp_path):
    path, space = tmp_path / "grin.safetensors", tiny_latents()
    save_slider(fitted, path, space, "encoder")
    with pytest.raises(SliderFileError, match="another model"):
        load_slider(path, space, "other")
    for content in (b"", b"x" * 400, path.read_bytes()[:300]):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(SliderFileError, match="not a slider"):
            load_slider(tmp_path / "bad", space, "encoder")
    with pytest.raises(SliderFileError, match="no file"):
        load_slider(tmp_path / "none", space, "encoder")


def picture(shade=90):
    return Image.fromarray(np.full((48, 48, 3), shade, np.uint8))


@pytest.mark.parametrize("kind", STILLS)
def test_stills_say_where_they_come_from(kind):
    data = still(picture(), Provenance("faces128", {"edit": {"Smiling": 1.0}}), kind)
    with Image.open(io.BytesIO(data)) as image:
        xmp = image.info.get("xmp") or image.info["XML:com.adobe.xmp"].encode()
        text = image.info.get("Description") or image.getexif()[0x010E]
        assert image.format == kind and abs(np.asarray(image)[0, 0, 0] - 90.0) < 3
    assert b"digitalsourcetype/compositeWithTrainedAlgorithmicMedia" in xmp
    assert json.loads(text)["edit"] == {"Smiling": 1.0}


def test_provenance_is_escaped():
    packet = Provenance("a<b>&", {"who": "</rdf:li>"}).xmp.decode()
    assert '</rdf:li>"' not in packet and "&lt;/rdf:li&gt;" in packet


@pytest.mark.parametrize("kind", FILMS)
def test_films_go_there_and_back(kind):
    shades = (0, 80, 160, 240)
    data = film([picture(shade) for shade in shades], Provenance("faces128"), kind)
    if kind == "MP4":
        with av.open(io.BytesIO(data)) as container:
            assert "faces128" in container.metadata["comment"]
            seen = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    else:
        with Image.open(io.BytesIO(data)) as image:
            seen = []
            for number in range(image.n_frames):
                image.seek(number)
                seen.append(np.asarray(image.convert("RGB")))
    means = [frame.mean() for frame in seen]
    assert means == pytest.approx([0, 80, 160, 240, 160, 80], abs=4)


def test_history_goes_back_and_forth():
    one, two = Preset({"Smiling": 1.0}), Preset(scale=1.2)
    history = History().then(one).then(one).then(two)
    assert history.undone().now == one and history.undone().undone().now == Preset()
    assert history.undone().undone().undone().now == Preset()
    assert history.undone().redone() == history
    assert history.redone() == history
    assert history.undone().then(Preset(scale=2.0)).future == ()
    for number in range(2 * KEPT):
        history = history.then(Preset(scale=float(number)))
    assert len(history.past) == KEPT
