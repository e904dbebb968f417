"""A face in a photograph to an aligned square, and the way back.

The same code prepares the training pictures and a user's upload: eyes level, at fixed places, so
that the model sees every face in one framing.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from pdae_app.faces.detect import Face, detect_faces
from pdae_app.faces.photo import PhotoError

# Where the eyes lie in the square, in units of its side, by the name of the framing that a model
# was trained with. "face" is ours: hair, chin and some background fit in, and the face stays as
# large as that allows. "ffhq" has the eyes a quarter of the side apart, "celeba" is the official
# crop of the aligned pictures. "center" is for models of other things: the centre square.
FRAMINGS = {
    "face": ((0.36, 0.47), (0.64, 0.47)),
    "ffhq": ((0.375, 0.47), (0.625, 0.47)),
    "celeba": ((0.348, 0.425), (0.648, 0.425)),
    "center": None,
}

# Beyond the photograph's edge a square is blurred by this part of its side, fully from this far on.
BEYOND_BLUR, BEYOND_FULL = 0.06, 0.04


class NoFaceError(PhotoError):
    """No face was found; "use the centre square" remains possible."""


@dataclass(frozen=True)
class Alignment:
    """A similarity transform between a unit square and a photograph.

    `matrix` (2, 3) takes (u, v, 1), with u and v in [0, 1] across the square, to pixels (x, y) of
    the photograph, both measured from the top left corner of the top left pixel.
    """

    matrix: tuple[tuple[float, float, float], tuple[float, float, float]]

    @property
    def side(self) -> float:
        """The square's side in pixels of the photograph."""
        return float(np.hypot(self.matrix[0][0], self.matrix[1][0]))

    def widened(self, margin: float) -> "Alignment":
        """The same frame with `margin` (in sides) added all round."""
        matrix = np.array(self.matrix)
        offset = matrix[:, 2] - margin * (matrix[:, 0] + matrix[:, 1])
        wide = np.column_stack([matrix[:, :2] * (1 + 2 * margin), offset])
        return Alignment(tuple(tuple(map(float, row)) for row in wide))

    def pixel_matrix(self, size: int) -> np.ndarray:
        """(2, 3): pixel indices of a `size` x `size` picture to pixel indices of the photograph."""
        matrix = np.array(self.matrix)
        linear = matrix[:, :2] / size
        # Pixel index i has its centre at i + 0.5.
        offset = matrix[:, 2] + linear @ (0.5, 0.5) - 0.5
        return np.column_stack([linear, offset])


def align_face(face: Face, framing: str = "face") -> Alignment:
    """The alignment that carries the framing's eye places to the face's eyes."""
    source = np.array(FRAMINGS[framing])
    target = np.array([face.left_eye, face.right_eye])
    # A similarity in complex numbers: target = a * source + b.
    s, d = source @ (1, 1j), target @ (1, 1j)
    a = (d[1] - d[0]) / (s[1] - s[0])
    b = d[0] - a * s[0]
    return Alignment(((a.real, -a.imag, b.real), (a.imag, a.real, b.imag)))


def center_square(photo: Image.Image) -> Alignment:
    """The largest square in the middle of the photograph."""
    width, height = photo.size
    side = min(width, height)
    return Alignment(((side, 0.0, (width - side) / 2), (0.0, side, (height - side) / 2)))


def find_alignment(photo: Image.Image, which: int = 0, framing: str = "face") -> Alignment:
    """The alignment of the face number `which`, 0 being the largest, or of the centre square.

    Args:
        framing: one of `FRAMINGS`.

    Raises:
        NoFaceError: no face, or fewer than `which` + 1.
    """
    if FRAMINGS[framing] is None:
        return center_square(photo)
    # Small ones beside the largest are looked for only where they are asked for.
    faces = detect_faces(photo, small=which > 0)
    if not faces:
        raise NoFaceError(
            "No face was found in this picture. Use one where the face looks towards the camera "
            'and is well lit, or choose "use the centre square".'
        )
    if not 0 <= which < len(faces):
        raise NoFaceError(f"There is no face number {which + 1}: {len(faces)} found.")
    return align_face(faces[which], framing)


def crop(photo: Image.Image, alignment: Alignment, size: int) -> Image.Image:
    """The aligned square, `size` pixels a side; beyond the photograph's edge it is mirrored."""
    # Sampled at about the photograph's own resolution, then reduced with a box filter: no aliasing.
    oversampling = int(np.clip(np.ceil(alignment.side / size), 1, 32))
    fine = size * oversampling
    pixels = cv2.warpAffine(
        np.asarray(photo),
        alignment.pixel_matrix(fine),
        (fine, fine),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    return Image.fromarray(pixels).reduce(oversampling)


def blurred_beyond(square: Image.Image, photo: Image.Image, alignment: Alignment) -> Image.Image:
    """A photograph's square for people to look at: what `crop` mirrors is blurred, as by the
    alignment of FFHQ. Else a second head may look into the picture.
    """
    size = square.width
    inside = cv2.warpAffine(
        np.ones((photo.height, photo.width), np.uint8),
        alignment.pixel_matrix(size),
        (size, size),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
    )
    if inside.all() or not inside.any():
        return square
    sharp = np.asarray(square, np.float32)
    blurred = cv2.GaussianBlur(sharp, (0, 0), BEYOND_BLUR * size)
    far = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5) / (BEYOND_FULL * size)
    part = np.clip(far, 0, 1)[..., None]
    return Image.fromarray((sharp + part * (blurred - sharp)).round().astype(np.uint8))
