"""How many steps a picture takes, by the two words that people need."""

from pdae_app.engine.code import EditError
from pdae_app.typed_config import short

FAST, BEST = 10, 40
QUALITY = {"Fast": FAST, "Best": BEST}


def quality_steps(quality: object) -> int:
    """The steps of a quality, in any case of its letters.

    Raises:
        EditError: there is no such quality.
    """
    if not isinstance(quality, str) or quality.capitalize() not in QUALITY:
        raise EditError(f"The quality must be one of {', '.join(QUALITY)}, got {short(quality)}.")
    return QUALITY[quality.capitalize()]
