"""Bits per dimension of held-out pictures, for models that have a likelihood."""

from training.bits import PARTS, bits_of_pictures
from training.evaluation.albums import grey_levels
from training.evaluation.case import Case
from training.evaluation.table import LeftOutError, Table, with_error

TITLE = "Bits per dimension"
OF = "DiffEnc, Tables 1 to 7"


def measure(case: Case) -> Table:
    """The bound and its three parts.

    Raises:
        LeftOutError: the model has no likelihood.
    """
    model = case.model.bundle.variational
    if model is None:
        raise LeftOutError(
            f"{case.model.name} was trained to denoise, not as a model of 256 grey levels, and has "
            "no likelihood"
        )
    pixels = grey_levels(case.held_out.spread(case.sizes.gap).pictures[:])
    bits = bits_of_pictures(model, pixels, draws=4)
    parts = {name: with_error(getattr(bits, name)) for name in PARTS}
    return Table(
        [{"bits per dimension": with_error(bits.total)} | parts],
        [
            f"{len(pixels)} held-out pictures, four draws of noise each, framed as this table's "
            "others; `training/evaluate_likelihood.py` takes them as they lie in their files."
        ],
    )
