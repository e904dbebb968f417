"""Films that tests and the walk make."""

import math

import av
import numpy as np
from PIL import Image

from pdae_app.ui.session import EXAMPLES

RATE = 12


def write_film(path, pictures, sound=True, codec="h264"):
    """A film of these pictures, with a tone."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=RATE)
        video.width, video.height, video.pix_fmt = *pictures[0].size, "yuv420p"
        audio = container.add_stream("aac", rate=16_000) if sound else None
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_image(picture)))
        container.mux(video.encode())
        if audio:
            times = np.arange(16_000 * len(pictures) // RATE) / 16_000
            wave = np.sin(2 * math.pi * 440 * times).astype(np.float32)[None]
            tone = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            tone.sample_rate = 16_000
            container.mux(audio.encode(tone))
            container.mux(audio.encode())
    return path


def moving(count, size=(240, 240)):
    """A portrait that moves to the right by two pixels a frame."""
    portrait = Image.open(EXAMPLES[1]).convert("RGB").resize(size)
    frames = []
    for number in range(count):
        frame = Image.new("RGB", size, "gray")
        frame.paste(portrait, (2 * number, 0))
        frames.append(frame)
    return frames
