"""The shipped model's pictures are those that it gave when its figures were measured.

`python -m tests.test_same_pictures` draws the expected sheet anew: only where pictures are meant to
change.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pdae_app import Editor
from pdae_app.ui.session import EXAMPLES

MODEL = Path(__file__).parent.parent / "checkpoints" / "faces128"
EXPECTED = Path(__file__).parent / "fixtures" / "faces128_pictures.png"
STEPS = 5
EDITS = (
    {"Smiling": 1.0},
    {"Eyeglasses": 1.0},
    {"Male": -1.0, "Young": 0.5},
    {"Gray_Hair": 0.7},
    {"Smiling": -1.0},
    {"Young": 1.0},
)


def pictures(editor: Editor) -> list[Image.Image]:
    """Edits of ten codes, six of photographs and four drawn; then one of every other request."""
    codes = [editor.encode(Image.open(path), steps=STEPS) for path in EXAMPLES]
    edited = [editor.edit(code, sliders) for code, sliders in zip(codes, EDITS, strict=True)]
    edited += [
        editor.render_drawn(editor.draw(seed, steps=10).code, STEPS, scale)
        for seed, scale in ((0, 1.0), (1, 1.5), (2, 1.0), (3, 0.5))
    ]
    keep = np.zeros((editor.image_size,) * 2, np.float32)
    keep[:32] = 1
    edited.append(editor.edit(codes[0], {"Smiling": 1.5}, scale=1.2, keep=keep))
    edited += list(editor.strip(codes[1], "Smiling", [-1, 1]))
    for mode in ("latent", "trajectory"):
        edited.append(editor.interpolate(codes[2], codes[3], 3, mode)[1])
    official = editor.with_stepping("pdae")
    plain = official.encode(Image.open(EXAMPLES[4]), STEPS)
    return [*edited, official.edit(plain, {"Smiling": 1.0}, scale=1.1)]


@pytest.mark.skipif(not MODEL.is_dir(), reason="checkpoints/faces128 is not here")
def test_the_shipped_models_pictures_stay():
    """To one grey level, as other processors round otherwise; on one machine to the bit."""
    editor = Editor.from_pretrained(MODEL, device="cpu", precision="float32")
    found = np.concatenate([np.asarray(p, np.int16) for p in pictures(editor)], axis=1)
    expected = np.asarray(Image.open(EXPECTED), np.int16)
    assert np.abs(found - expected).max() <= 1
    assert np.abs(found - expected).mean() < 0.01


if __name__ == "__main__":
    shipped = Editor.from_pretrained(MODEL, device="cpu", precision="float32")
    drawn = [np.asarray(picture) for picture in pictures(shipped)]
    Image.fromarray(np.concatenate(drawn, axis=1)).save(EXPECTED, optimize=True)
