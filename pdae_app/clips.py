"""Short films: their frames one by one, and files of edited frames.

Files are opened as one of `CONTAINERS`, which their first bytes tell, and through a Python file: a
hostile one can make FFmpeg open nothing else.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image

from pdae_app.export.provenance import Provenance
from pdae_app.faces.photo import PhotoError
from pdae_app.limits import Limits
from pdae_app.private_folder import missing

MOST_FRAMES = 300
# The longer side of a frame, in pixels: larger ones are reduced, those of a GIF further.
MOST_SIDE, MOST_SIDE_GIF = 1280, 480

# A film's container, by the bytes at a place near its beginning.
CONTAINERS = {"mov": (4, b"ftyp"), "matroska": (0, b"\x1aE\xdf\xa3"), "gif": (0, b"GIF8")}

# Ticks a second of the films that are written, as MPEG's own clock has.
CLOCK = 90_000
FALLBACK_RATE = Fraction(25)
SOUND_BITS = 192_000
# Milliseconds of a GIF's frame; browsers slow shorter ones down.
SHORTEST = 20


class ClipError(PhotoError):
    """The film cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Frame:
    """A picture of a film, upright, and its time in seconds from the first."""

    image: Image.Image
    time: float


class Clip:
    """A film's file: its first seconds (see `Limits`), and at most `MOST_FRAMES` of them.

    Raises:
        ClipError: no film, or one of too many pixels a frame.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.container = _container(self.path)
        with self._opened() as opened:
            video = _video(opened)
            self.rate = video.average_rate or FALLBACK_RATE
            self.has_sound = bool(opened.streams.audio)
            _check_pixels(video.width * video.height)

    def frames(self) -> Iterator[Frame]:
        """The frames, decoded as they are asked for.

        Raises:
            ClipError: the film is damaged, or its frames grow too large.
        """
        first, most = None, Limits.of().film_seconds
        with self._opened() as opened:
            for count, frame in enumerate(_decoded(opened)):
                time = float(count / self.rate if frame.time is None else frame.time)
                first = time if first is None else first
                if count >= MOST_FRAMES or time - first >= most:
                    return
                yield Frame(_upright(frame), max(0.0, time - first))

    def sound(self, end: float) -> Iterator[av.AudioFrame]:
        """The sound until `end` seconds, decoded; nothing where there is none, or it is damaged."""
        if not self.has_sound:
            return
        with self._opened() as opened:
            try:
                for frame in opened.decode(audio=0):
                    if frame.time is not None and frame.time >= end:
                        return
                    yield frame
            except av.FFmpegError:  # a film without its last sounds is still a film
                return

    def _opened(self) -> "av.container.InputContainer":
        try:
            return av.open(self.path.open("rb"), format=self.container)
        except FileNotFoundError as error:
            raise ClipError(missing(self.path)) from error
        except (av.FFmpegError, OSError, ValueError) as error:
            raise _unreadable() from error


def _container(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except FileNotFoundError as error:
        raise ClipError(missing(path)) from error
    except OSError as error:
        raise _unreadable() from error
    for name, (place, mark) in CONTAINERS.items():
        if head[place : place + len(mark)] == mark:
            return name
    raise _unreadable()


def _unreadable() -> ClipError:
    return ClipError("This file is not a film that can be read. Use an MP4, MOV, WebM or GIF file.")


def _video(opened: "av.container.InputContainer") -> "av.VideoStream":
    if not opened.streams.video:
        raise ClipError("This file has no pictures. Use a film.")
    video = opened.streams.video[0]
    if video.codec_context is None:  # a codec that FFmpeg does not know
        raise _unreadable()
    return video


def _decoded(opened: "av.container.InputContainer") -> Iterator[av.VideoFrame]:
    """Frames; a damaged end is left out, a film of which nothing can be read is an error."""
    count = 0
    try:
        for frame in opened.decode(_video(opened)):
            _check_pixels(frame.width * frame.height)
            count += 1
            yield frame
    except av.FFmpegError as error:
        if not count:
            raise _unreadable() from error
    if not count:
        raise ClipError("This film has no frames.")


def _check_pixels(pixels: int) -> None:
    if pixels > Limits.of().pixels:
        raise ClipError(
            f"The film's frames have {pixels / 1e6:.0f} megapixels; at most "
            f"{Limits.of().megapixels:g} can be used."
        )


def _upright(frame: av.VideoFrame) -> Image.Image:
    image = frame.to_image()
    image.thumbnail((MOST_SIDE, MOST_SIDE))
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image


class Mp4Writer:
    """H.264 frames at their times, with the sound of `clip`, in memory; use it as a context."""

    def __init__(self, clip: Clip, provenance: Provenance):
        self.clip, self.buffer, self.end = clip, io.BytesIO(), 0.0
        self.container = av.open(self.buffer, "w", format="mp4")
        self.container.metadata["comment"] = provenance.text
        self.video = self.sound = None

    def __enter__(self) -> "Mp4Writer":
        return self

    def __exit__(self, *error) -> None:
        self.container.close()

    def add(self, frame: Frame) -> None:
        """One more frame."""
        if self.video is None:
            self._begin(frame.image.size)
        size = self.video.width, self.video.height
        picture = av.VideoFrame.from_image(frame.image.crop((0, 0, *size)))
        picture.pts, picture.time_base = round(frame.time * CLOCK), Fraction(1, CLOCK)
        self.container.mux(self.video.encode(picture))
        self.end = frame.time + float(1 / self.clip.rate)

    def _begin(self, size: tuple[int, int]) -> None:
        """All streams are there before the first frame is written; H.264 wants even sides."""
        self.video = self.container.add_stream("h264", rate=self.clip.rate)
        self.video.width, self.video.height = (side - side % 2 for side in size)
        # The colour layout that every player knows.
        self.video.pix_fmt, self.video.options = "yuv420p", {"crf": "18"}
        self.video.codec_context.time_base = Fraction(1, CLOCK)
        if self.clip.has_sound:
            self.sound = self.container.add_stream("aac", bit_rate=SOUND_BITS)

    def finish(self) -> bytes:
        """The bytes of the film, whose sound ends with its frames."""
        self.container.mux(self.video.encode())
        if self.sound:
            for frame in self.clip.sound(self.end):
                self.container.mux(self.sound.encode(frame))
            self.container.mux(self.sound.encode())
        self.container.close()
        return self.buffer.getvalue()


class GifWriter:
    """Small frames of 256 colours at their times; use it as a context."""

    def __init__(self, clip: Clip, provenance: Provenance):
        self.clip, self.provenance = clip, provenance
        self.images: list[Image.Image] = []
        self.times: list[float] = []

    def __enter__(self) -> "GifWriter":
        return self

    def __exit__(self, *error) -> None:
        self.images.clear()

    def add(self, frame: Frame) -> None:
        """One more frame."""
        small = frame.image.copy()
        small.thumbnail((MOST_SIDE_GIF, MOST_SIDE_GIF))
        self.images.append(small.quantize(dither=Image.Dither.FLOYDSTEINBERG))
        self.times.append(frame.time)

    def finish(self) -> bytes:
        """The bytes of the film."""
        ends = [*self.times[1:], self.times[-1] + float(1 / self.clip.rate)]
        durations = [1000 * (end - time) for time, end in zip(self.times, ends, strict=True)]
        first, *rest = self.images
        buffer = io.BytesIO()
        first.save(
            buffer,
            "GIF",
            save_all=True,
            append_images=rest,
            duration=[max(SHORTEST, round(milliseconds)) for milliseconds in durations],
            loop=0,
            disposal=1,
            **self.provenance.options("GIF"),
        )
        return buffer.getvalue()


WRITERS = {"MP4": Mp4Writer, "GIF": GifWriter}
