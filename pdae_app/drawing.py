"""How new pictures are drawn: settings of a bundle, which a request may change."""

import math
from dataclasses import dataclass

MOST_VARIETY = 1.5
MOST_TEMPERATURE = 1.5


@dataclass(frozen=True)
class Drawing:
    """By default as the papers do it.

    `variety` scales a drawn code's distance to the mean code: below 1 people are more typical and
    less unlike one another (StyleGAN's truncation psi, Karras et al. 2019, Appendix B).
    `temperature` is the standard deviation of x_T: below 1 pictures are smoother. The last part
    `unguided` of the steps goes without the code (PDAE, Section 4.8).

    Raises:
        ValueError: a value outside its range.
    """

    variety: float = 1.0
    temperature: float = 1.0
    unguided: float = 0.3

    def __post_init__(self):
        bounds = {"variety": MOST_VARIETY, "temperature": MOST_TEMPERATURE, "unguided": 1.0}
        for name, most in bounds.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= most):
                raise ValueError(f"{name} must be between 0 and {most:g}")
