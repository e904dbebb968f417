"""Files that once did harm, made small."""

import io
import struct

from PIL import Image

# Ghostscript would run this for ever.
ENDLESS_EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n{} loop\n%%EOF\n"


def encoded(image, kind, **options):
    """The bytes of a picture file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def corrupt_exif_jpeg(side=64):
    """A whole JPEG whose EXIF points beyond its end."""
    exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHI", 8, 500, 0x0112, 3, 0xFFFFFFFF)
    return encoded(Image.new("RGB", (side, side), (90, 120, 90)), "JPEG", exif=exif)


def many_scans_jpeg(count):
    """A progressive JPEG whose last scan is repeated."""
    data = encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + data[-2:]
