"""A photograph with its place of interest: opened, turned upright and searched for faces once."""

from dataclasses import dataclass

from PIL import Image

from pdae_app.faces.align import Alignment, NoFaceError, center_square, crop, find_alignment
from pdae_app.faces.photo import Source, open_photo


@dataclass(frozen=True)
class Framed:
    """An upright RGB photograph, and where in it the model's square lies."""

    photo: Image.Image
    alignment: Alignment

    def square(self, size: int) -> Image.Image:
        """The square, `size` pixels a side."""
        return crop(self.photo, self.alignment, size)


def frame(
    source: Source | Image.Image,
    framing: str,
    face: int = 1,
    *,
    center: bool = False,
    or_center: bool = False,
) -> Framed:
    """The photograph with the square of a face, the largest being number 1, or of its centre.

    Args:
        framing: the model's (see `pdae_app.faces.align.FRAMINGS`).
        center: the centre, whatever the photograph shows; with `or_center` where no face is found.

    Raises:
        PhotoError: the picture cannot be used. NoFaceError: there is no such face.
    """
    photo = open_photo(source)
    if center:
        return Framed(photo, center_square(photo))
    try:
        return Framed(photo, find_alignment(photo, face - 1, framing))
    except NoFaceError:
        if or_center:
            return Framed(photo, center_square(photo))
        raise


def as_framed(
    photo: Source | Image.Image | Framed, align: bool | Alignment, framing: str
) -> Framed:
    """A photograph as `Editor.encode` takes it: framed already, or to be opened and framed."""
    if isinstance(photo, Framed):
        return photo
    if isinstance(align, Alignment):
        return Framed(open_photo(photo), align)
    return frame(photo, framing, center=not align)
