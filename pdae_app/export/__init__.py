"""Pictures and films as files that say where they come from."""

from pdae_app.export.files import FILMS, STILLS, film, still
from pdae_app.export.provenance import Provenance

__all__ = ["FILMS", "STILLS", "Provenance", "film", "still"]
