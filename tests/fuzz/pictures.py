"""Damaged photographs. Nothing here knows torch: the memory that is taken is the pictures' own."""

import io

from PIL import Image

from pdae_app.faces.photo import PhotoError, open_layer, open_photo
from tests.attacks import encoded
from tests.fuzz.mutations import changed_bytes
from tests.fuzz.subject import Subject, one_sentence


def whole_pictures() -> list[bytes]:
    """Small pictures in every format that is read, in several of its ways."""
    gradient = Image.linear_gradient("L").resize((40, 30))
    colour = Image.merge("RGB", (gradient, gradient.rotate(180), gradient))
    clear = colour.copy()
    clear.putalpha(gradient)
    exif = Image.Exif()
    exif[0x0112] = 6
    more = {"save_all": True, "append_images": [colour.rotate(90)]}
    return [
        *(encoded(colour, kind) for kind in ("PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")),
        encoded(colour, "JPEG", exif=exif),
        encoded(colour, "JPEG", progressive=True),
        encoded(colour.convert("CMYK"), "JPEG"),
        encoded(colour, "MPO", **more),
        encoded(clear, "PNG"),
        encoded(colour.quantize(16), "PNG"),
        encoded(gradient.convert("I;16"), "PNG"),
        encoded(gradient.convert("F"), "TIFF"),
        encoded(clear, "WEBP", lossless=True),
        encoded(clear, "HEIF"),
        encoded(gradient, "TIFF", compression="tiff_lzw"),
        encoded(colour, "TIFF", compression="jpeg"),
        *(encoded(colour.copy(), kind, **more) for kind in ("GIF", "WEBP", "AVIF", "PNG")),
    ]


def pictures() -> Subject:
    """Photographs, as an upload is read; and as a painted layer is."""
    whole = whole_pictures()

    def read(data: bytes) -> bool:
        seen = False
        for opened, mode in ((open_photo, "RGB"), (open_layer, "RGBA")):
            try:
                assert opened(data).mode == mode
                seen = True
            except PhotoError as error:
                assert one_sentence(error)
        return seen

    return Subject(lambda chance: changed_bytes(chance.choice(whole), chance), read)


def is_whole(data: bytes) -> bool:
    """Whether a picture of `whole_pictures` can be read."""
    return Image.open(io.BytesIO(data)).size == (40, 30) and open_photo(data).mode == "RGB"
