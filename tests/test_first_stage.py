import pytest
import torch
from PIL import Image, ImageChops

from pdae_app.bundle import (
    BundleError,
    load_bundle,
    load_first_stage,
    save_bundle,
    save_first_stage,
)
from pdae_app.engine import Editor
from pdae_app.models.first_stage import PatchAutoencoder, PatchAutoencoderConfig, Pixels
from tests.tiny import tiny_bundle, tiny_latent_bundle
from training import states


@pytest.fixture
def latent(tmp_path):
    save_bundle(tiny_latent_bundle(), tmp_path / "latent")
    return tmp_path / "latent"


def noisy_picture(size: int) -> Image.Image:
    pixels = torch.randint(0, 255, (size, size, 3), generator=torch.Generator().manual_seed(0))
    return Image.fromarray(pixels.byte().numpy())


def test_pixels_are_their_own_states():
    pictures = torch.randn(2, 3, 8, 8)
    stage = Pixels(3)
    assert stage.encode(pictures) is pictures and stage.decode(pictures) is pictures
    bundle = tiny_bundle()
    assert bundle.picture_size == 16 and bundle.state_shape == (3, 16, 16)


@pytest.mark.parametrize("patch_size", [2, 4, 8])
def test_shapes_there_and_back(patch_size):
    stage = PatchAutoencoder(PatchAutoencoderConfig(patch_size, channels=16))
    pictures = torch.randn(2, 3, 32, 32)
    states = stage.encode(pictures)
    assert states.shape == (2, 4, 32 // patch_size, 32 // patch_size)
    assert stage.decode(states).shape == pictures.shape
    with pytest.raises(ValueError, match="multiples of"):
        stage.encode(torch.randn(1, 3, 33, 33))
    with pytest.raises(ValueError, match="power of two"):
        PatchAutoencoderConfig(patch_size + 1 if patch_size > 2 else 3)


def test_a_first_stage_alone_is_kept(tmp_path):
    stage = tiny_latent_bundle().first_stage
    stage.mean.fill_(0.25)
    save_first_stage(stage, tmp_path / "stage")
    pictures = torch.randn(1, 3, 16, 16)
    back = load_first_stage(tmp_path / "stage")
    assert torch.allclose(back.encode(pictures), stage.encode(pictures), atol=1e-2)
    save_bundle(tiny_bundle(), tmp_path / "pixels")
    with pytest.raises(BundleError, match="lacks first_stage"):
        load_first_stage(tmp_path / "pixels")


def test_a_latent_bundle_loads_and_says_its_sizes(latent):
    bundle = load_bundle(latent)
    assert (bundle.picture_size, bundle.state_shape) == (32, (4, 16, 16))
    assert bundle.codes(torch.randn(3, 3, 32, 32)).shape == (3, 8)


def test_the_unchanged_code_gives_the_first_stages_own_reconstruction(latent):
    editor, square = Editor.from_pretrained(latent, device="cpu"), noisy_picture(32)
    code = editor.encode(square, steps=4, align=False)
    assert code.x_T.shape == (4, 16, 16) and editor.image_size == 32
    picture = torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8)
    picture = picture.view(1, 32, 32, 3).permute(0, 3, 1, 2).float() / 127.5 - 1
    stage = editor.bundle.first_stage
    (expected,) = editor.sampler.pictures(stage.encode(picture))
    (difference,) = (
        ImageChops.difference(expected, editor.decode(code)).convert("L").getextrema()[1:]
    )
    assert difference <= 1
    edited = editor.edit(code, {"Smiling": 1.0})
    assert edited.size == (32, 32) and edited.tobytes() != expected.tobytes()


def test_everything_else_works_on_states(latent):
    editor = Editor.from_pretrained(latent, device="cpu")
    codes = [
        editor.encode(image, steps=4, align=False)
        for image in (noisy_picture(32), noisy_picture(32).rotate(90))
    ]
    frames = editor.interpolate(*codes, frames=3)
    assert [frame.size for frame in frames] == [(32, 32)] * 3
    assert editor.generate([1], steps=4)[0].size == (32, 32)


def test_channels_must_agree(latent):
    config = latent / "config.json"
    config.write_text(config.read_text().replace('"state_channels": 4', '"state_channels": 3'))
    with pytest.raises(BundleError, match="different channels"):
        load_bundle(latent)


def test_held_out_pictures_go_through_a_first_stage_a_few_at_a_time(monkeypatch):
    stage, at_once = tiny_latent_bundle().first_stage, []
    squares = torch.rand(10, 3, 32, 32) * 2 - 1
    expected, plain = stage.encode(squares), stage.encode
    monkeypatch.setattr(states, "held_out_squares", lambda *_: squares)
    monkeypatch.setattr(stage, "encode", lambda x: at_once.append(len(x)) or plain(x))
    (found,) = states.held_out_states(None, stage, states.Sizes(32))
    torch.testing.assert_close(found, expected)
    assert at_once == [4, 4, 2]


@pytest.mark.parametrize(
    ("gpus", "rank", "device"),
    [(4, "2", "cuda:2"), (1, "2", "cuda:0"), (4, None, "cuda:0"), (0, "2", "cpu")],
)
def test_every_process_encodes_on_its_own_gpu(monkeypatch, gpus, rank, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    if rank is None:
        monkeypatch.delenv("LOCAL_RANK", raising=False)
    else:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert states.own_device() == device
