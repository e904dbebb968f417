"""What is read of strangers: how each kind is damaged, and how it is read.

A subject makes a damaged thing from a source of chance, and reads it. Reading says whether it could
be read; it raises nothing but what is a fault of ours.
"""

import json
import random
from pathlib import Path

import numpy as np
from PIL import Image

from pdae_app.bundle import BundleError, check_config
from pdae_app.clips import WRITERS, Clip, ClipError
from pdae_app.convert.diffenc import load_official
from pdae_app.convert.errors import ConvertError
from pdae_app.convert.hints import Hints, of_config
from pdae_app.convert.infer import unet_config
from pdae_app.convert.pipeline import convert_pipeline, scheduled
from pdae_app.convert.reading import read_settings
from pdae_app.engine import EditError, Editor
from pdae_app.engine.preset import parse_preset
from pdae_app.engine.sliders import load_slider_for, save_slider_for
from pdae_app.export.provenance import Provenance
from pdae_app.latents.slider_file import SliderFileError
from tests.fuzz.mutations import changed_bytes, changed_json, hostile
from tests.fuzz.subject import Subject, one_sentence
from tests.test_films import write_film

PRESET = {
    "format": "pdae_app preset 1",
    "model": "m",
    "scale": 1.0,
    "sliders": {"Smiling": 1.0, "Young": -0.5},
}
# Names and shapes that tell a U-Net of two resolutions.
UNET_SHAPES = {
    "time_embed.0.weight": (256, 64),
    "time_embed.0.bias": (256,),
    "input_blocks.0.0.weight": (64, 3, 3, 3),
    "input_blocks.1.0.in_layers.2.weight": (64, 64, 3, 3),
    "input_blocks.1.0.emb_layers.1.weight": (128, 256),
    "input_blocks.1.1.qkv.weight": (192, 64, 1),
    "input_blocks.2.0.op.weight": (64, 64, 3, 3),
    "input_blocks.3.0.in_layers.2.weight": (128, 64, 3, 3),
    "output_blocks.0.0.in_layers.0.weight": (128,),
    "output_blocks.1.1.conv.weight": (128, 128, 3, 3),
    "output_blocks.2.0.in_layers.0.weight": (128,),
    "output_blocks.3.0.in_layers.0.weight": (128,),
}


def films(folder: Path) -> Subject:
    """Short films, read and written anew as the Film tab does."""
    folder.mkdir(exist_ok=True)
    pictures = [Image.new("RGB", (64, 64), (40 * n, 90, 90)) for n in range(5)]
    whole = [write_film(folder / f"whole.{end}", pictures) for end in ("mp4", "mov", "mkv")]
    pictures[0].save(folder / "whole.gif", save_all=True, append_images=pictures[1:], duration=80)
    whole = [path.read_bytes() for path in (*whole, folder / "whole.gif")]
    path = folder / "changed"

    def read(data: bytes) -> bool:
        path.write_bytes(data)
        try:
            clip = Clip(path)
            frames = list(clip.frames())
        except ClipError as error:
            return not one_sentence(error)
        for writer in WRITERS.values():
            with writer(clip, Provenance("fuzz")) as film:
                for frame in frames:
                    film.add(frame)
                assert film.finish()
        return True

    return Subject(lambda chance: changed_bytes(chance.choice(whole), chance), read)


def configurations(config: dict, folder: Path) -> Subject:
    """A bundle's config.json, changed in its values or in its bytes."""
    folder.mkdir(exist_ok=True)
    path = folder / "config.json"

    def read(data: bytes) -> bool:
        path.write_bytes(data)
        try:
            check_config(folder)
        except BundleError as error:
            return not one_sentence(error)
        return True

    return Subject(lambda chance: changed_json(config, chance), read)


# Configurations of others: of diffusers, of DiffEnc, and of the official PDAE and Diff-AE.
DIFFUSERS = {
    "_class_name": "UNet2DModel",
    "sample_size": 32,
    "in_channels": 3,
    "block_out_channels": [32, 64],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": 8,
    "norm_num_groups": 16,
    "resnet_time_scale_shift": "default",
}
SCHEDULER = {"beta_schedule": "linear", "prediction_type": "epsilon", "num_train_timesteps": 1000}
DIFFENC = {
    "shape": [16, 16, 3],
    "score": {"n_embd": 32, "n_layer": 2, "groups": 32},
    "encoder": {"m_type": "unet_mult_res", "n_embd": 32, "n_layer": 2, "groups": 16},
    "learned_schedule": False,
}
OFFICIAL = {"model": {"image_size": 64, "num_heads": 4, "dropout": 0.1, "base_channel": 64}}


def foreign_configurations(folder: Path) -> Subject:
    """What lies beside the weights of others; here there are none, so that all is refused."""
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    quiet = Hints(say=lambda _: None)
    kinds = {b"diffusers": DIFFUSERS, b"scheduler": SCHEDULER, b"diffenc": DIFFENC}
    kinds |= {b"official": OFFICIAL}

    def make(chance: random.Random) -> bytes:
        kind = chance.choice(list(kinds))
        return kind + b"\n" + changed_json(kinds[kind], chance)

    def read(data: bytes) -> bool:
        kind, text = data.split(b"\n", 1)
        path = folder / f"{kind.decode()}.json"
        path.write_bytes(text)
        try:
            if kind == b"scheduler":
                path.replace(folder / "scheduler" / "scheduler_config.json")
                scheduled(folder, {}, quiet)
            elif kind == b"diffusers":
                path.replace(folder / "config.json")
                convert_pipeline(folder, quiet)
            elif kind == b"diffenc":
                load_official({}, "diffenc_fixed", read_settings(path))
                load_official({"encdec.a": None}, "diffenc", read_settings(path))
            else:
                unet_config(UNET_SHAPES, quiet.filled_from(of_config(read_settings(path))))
        except ConvertError as error:
            return not one_sentence(error)
        return True

    return Subject(make, read)


def presets() -> Subject:
    """A preset's file."""

    def make(chance: random.Random) -> bytes:
        if chance.random() < 0.1:
            return json.dumps(hostile(chance)).encode()
        return changed_json(PRESET, chance)

    def read(data: bytes) -> bool:
        try:
            preset = parse_preset(data, ["Smiling", "Young"])
        except EditError as error:
            return not one_sentence(error)
        assert 0 <= preset.scale <= 10 and all(-9 < v < 9 for v in preset.sliders.values())
        return True

    return Subject(make, read)


def slider_files(editor: Editor, folder: Path) -> Subject:
    """A slider's file; one that is read must move a code to finite numbers."""
    folder.mkdir(exist_ok=True)
    whole, crafted = folder / "grin.safetensors", folder / "crafted.safetensors"
    codes = [editor.draw(seed, steps=5).code for seed in range(12)]
    save_slider_for(editor.bundle, editor.fit_attribute("Grin", codes[:6], codes[6:]), whole)
    data = whole.read_bytes()

    def read(data: bytes) -> bool:
        crafted.write_bytes(data)
        try:
            fitted = load_slider_for(editor.bundle, crafted)
        except SliderFileError as error:
            return not one_sentence(error)
        moved = editor.with_attributes(fitted).moved(codes[0], {fitted.attribute.name: 1.0})
        assert moved.z.isfinite().all()
        return True

    return Subject(lambda chance: changed_slider(data, chance), read)


def changed_slider(data: bytes, chance: random.Random) -> bytes:
    """A slider's file with changed bytes, other facts, or other numbers."""
    way = chance.random()
    if way < 0.4:
        return changed_bytes(data, chance)
    length = int.from_bytes(data[:8], "little")
    header, numbers = json.loads(data[8 : 8 + length]), data[8 + length :]
    if way < 0.6:
        text = changed_json(header, chance)
    else:
        facts = header["__metadata__"]
        attribute = changed_json(json.loads(facts["attribute"]), chance)
        facts["attribute"] = attribute.decode("utf-8", "replace")
        text = json.dumps(header).encode()
    if way > 0.8:
        factor = np.float32(chance.choice((0, -1, 1e-30, 1e-6, 3, 1e6, 1e30, np.inf, np.nan)))
        numbers = (np.frombuffer(numbers, np.float32) * factor).tobytes()
    return len(text).to_bytes(8, "little") + text + numbers
