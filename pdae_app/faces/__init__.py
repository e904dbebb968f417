"""A photograph in, an aligned square out, and the way back."""

from pillow_heif import register_heif_opener

# Pillow reads the photographs of iPhones (HEIC) by this plugin; `photo.FORMATS` names them.
register_heif_opener()
