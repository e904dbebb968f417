"""C2PA content credentials (c2pa.org), for operators who have a certificate.

With c2pa-python installed, PDAE_C2PA_CERT naming a PEM chain (the signer's certificate first) and
PDAE_C2PA_KEY its ES256 key in PKCS #8, every finished picture and film is signed, offline. Readers
call the signer trusted only if its certificate's authority is on their list, so a certificate of
one's own proves that a file is unchanged, and not who signed it.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from pdae_app.export.files import film, still
from pdae_app.export.provenance import SOURCE_TYPES, TOOL, Provenance

MIME = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
FILM_MIME = {"GIF": "image/gif", "WebP": "image/webp", "MP4": "video/mp4"}


class CredentialsError(RuntimeError):
    """The certificate is set up, but nothing can be signed with it; the message says why."""


def configured() -> bool:
    """Whether the operator gave a certificate."""
    return bool(os.environ.get("PDAE_C2PA_CERT"))


def signed_still(image: Image.Image, provenance: Provenance, kind: str = "PNG") -> bytes:
    """As `pdae_app.export.still`, signed where credentials are set up."""
    return signed(still(image, provenance, kind), MIME[kind], provenance)


def signed_film(frames: Sequence[Image.Image], provenance: Provenance, kind: str = "MP4") -> bytes:
    """As `pdae_app.export.film`, signed where credentials are set up."""
    return signed(film(frames, provenance, kind), FILM_MIME[kind], provenance)


def signed(data: bytes, mime: str, provenance: Provenance) -> bytes:
    """The file with its credentials, where they are set up; else as it is.

    Raises:
        CredentialsError: the certificate or its key cannot be used.
    """
    if not configured():
        return data
    try:
        import c2pa  # 16 MB, for operators with a certificate only

        signer = c2pa.Signer.from_info(_signer(c2pa))
        result = io.BytesIO()
        c2pa.Builder(_manifest(provenance)).sign(signer, mime, io.BytesIO(data), result)
    except ImportError as error:
        raise CredentialsError("PDAE_C2PA_CERT needs c2pa-python: pip install it.") from error
    except (KeyError, OSError) as error:
        raise CredentialsError(f"The certificate or its key cannot be read: {error}.") from error
    except Exception as error:  # whatever the library makes of a certificate
        raise CredentialsError(f"Pictures cannot be signed: {error}.") from error
    return result.getvalue()


def _signer(c2pa):
    chain = Path(os.environ["PDAE_C2PA_CERT"]).read_bytes()
    key = Path(os.environ["PDAE_C2PA_KEY"]).read_bytes()
    return c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, chain, key, None)


def _manifest(provenance: Provenance) -> dict:
    """One action: what kind of source the picture has, and how it was made."""
    name, version = TOOL.split()
    action = {
        "action": "c2pa.created",
        "digitalSourceType": SOURCE_TYPES + provenance.source_type,
        "parameters": {"description": provenance.text},
    }
    return {
        "claim_generator_info": [{"name": name, "version": version}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }
