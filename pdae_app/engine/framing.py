"""A photograph, and the square of it that the model sees: opened, turned and searched once."""

import math
from dataclasses import dataclass

from PIL import Image

from pdae_app.engine.code import EditError
from pdae_app.faces.align import (
    FRAMINGS,
    Alignment,
    NoFaceError,
    align_face,
    blurred_beyond,
    center_square,
    crop,
)
from pdae_app.faces.detect import Face, detect_faces
from pdae_app.faces.photo import PhotoError, Source, open_photo
from pdae_app.private_folder import missing

NO_FACE = (
    "No face was found in this picture. Use one where the face looks towards the camera and is "
    "well lit, or take the centre square."
)

Eyes = tuple[tuple[float, float], ...]

# From the point between the eyes to the end of a head, in distances between the eyes.
HEAD = 2.2


@dataclass(frozen=True)
class Square:
    """Which square of a photograph the model is to see.

    `face` counts faces, the largest being 1; `center` takes the centre square instead, `or_center`
    where there is no such face. `eyes`, two points in pixels of the photograph, say where a face is
    that was not found.
    """

    face: int = 1
    center: bool = False
    or_center: bool = False
    eyes: Eyes = ()


class Photograph:
    """An upright RGB photograph, read from its source once and searched for faces once.

    Between two uses the pixels can be released; they are read again when they are asked for.
    """

    def __init__(self, source: Source | Image.Image):
        self.source = source
        self._image: Image.Image | None = None
        self._size: tuple[int, int] | None = None
        self._faces: list[Face] | None = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_image": None}  # another process reads its own

    @property
    def image(self) -> Image.Image:
        """The pixels.

        Raises:
            PhotoError: the picture cannot be used, or its file is gone.
        """
        image = self._image
        if image is None:  # of two threads that come at once, both read, and neither waits
            self._image = image = self._opened()
            self._size = image.size
        return image

    def _opened(self) -> Image.Image:
        try:
            return open_photo(self.source)
        except PhotoError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise PhotoError(missing(self.source)) from error
            raise

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, known without the pixels once they were read."""
        return self._size or self.image.size

    @property
    def faces(self) -> list[Face]:
        """What was found, the largest first."""
        if self._faces is None:
            self._faces = detect_faces(self.image)
        return self._faces

    def face_at(self, x: float, y: float) -> int | None:
        """The number of the face at a point in pixels, the largest being 1; None: there is none."""
        far = [math.dist(face.center, (x, y)) / face.eye_distance for face in self.faces]
        nearest = min(far, default=math.inf)
        return far.index(nearest) + 1 if nearest <= HEAD else None

    def release(self, above: int = 0) -> None:
        """Forget the pixels, if there are more than so many: those of all visitors take room."""
        if self._size and math.prod(self._size) > above:
            self._image = None

    def framed(self, framing: str, square: Square = Square()) -> "Framed":
        """The photograph with a square of it.

        Args:
            framing: the model's (see `pdae_app.faces.align.FRAMINGS`).

        Raises:
            PhotoError: the picture cannot be used. NoFaceError: there is no such face.
            EditError: the two eyes are the same point.
        """
        return Framed(self, self._alignment(framing, square))

    def _alignment(self, framing: str, square: Square) -> Alignment:
        if square.eyes:
            return alignment_by_eyes(framing, square.eyes)
        if square.center or FRAMINGS[framing] is None:
            return center_square(self.image)
        if 1 <= square.face <= len(self.faces):
            return align_face(self.faces[square.face - 1], framing)
        if square.or_center:
            return center_square(self.image)
        raise NoFaceError(self._lacking(square.face))

    def _lacking(self, face: int) -> str:
        if self.faces:
            return f"There is no face number {face}: {len(self.faces)} found."
        return NO_FACE


@dataclass(frozen=True)
class Framed:
    """A photograph, and where in it the model's square lies."""

    photograph: Photograph
    alignment: Alignment

    def square(self, size: int) -> Image.Image:
        """The square, `size` pixels a side."""
        return crop(self.photograph.image, self.alignment, size)

    def view(self, size: int) -> Image.Image:
        """The square for people to look at: blurred beyond the photograph's edge."""
        return blurred_beyond(self.square(size), self.photograph.image, self.alignment)


def frame(source: Source | Image.Image, framing: str, square: Square = Square()) -> Framed:
    """A square of a picture that is opened for this only: see `Photograph.framed`."""
    return Photograph(source).framed(framing, square)


def alignment_by_eyes(framing: str, eyes: Eyes) -> Alignment:
    """The square of a face whose two eyes were pointed at, in pixels of the photograph.

    Raises:
        EditError: the two are the same point.
    """
    left, right = sorted(map(tuple, eyes))
    if abs(left[0] - right[0]) + abs(left[1] - right[1]) < 4:
        raise EditError("The two eyes are the same point. Click on one eye, then on the other.")
    return align_face(Face(left, right), framing if FRAMINGS[framing] else "face")


def as_framed(
    photo: Source | Image.Image | Framed, align: bool | Alignment, framing: str
) -> Framed:
    """A photograph as `Editor.encode` takes it: framed already, or to be opened and framed."""
    if isinstance(photo, Framed):
        return photo
    if isinstance(align, Alignment):
        return Framed(Photograph(photo), align)
    return frame(photo, framing, Square(center=not align))
