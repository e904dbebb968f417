"""What the engine hands out and takes back: codes, and the progress of a request."""

from dataclasses import dataclass, replace

from PIL import Image
from torch import Tensor

from pdae_app.faces.align import Alignment


class EditError(ValueError):
    """A request that cannot be carried out; the message says what to change."""


@dataclass(frozen=True)
class Inversion:
    """How a photograph's x_T was found: it belongs to decoding in `steps` of this `stepping`.

    `residuals` (steps, C, S, S) are what solving each step left, added again in decoding, in
    float64 where the device has it; None for the plain inversion of PDAE's Eq. 8. `evaluations` of
    the networks were made; `error` is the root mean square of the residuals.
    """

    steps: int
    stepping: str
    evaluations: int
    residuals: Tensor | None = None
    error: float | None = None


@dataclass(frozen=True)
class Code:
    """A photograph as the model sees it; on the CPU, deep-copyable, of no use to another bundle.

    z (D,), x_T (C, S, S); `alignment` says where the square lies in the photograph, None when the
    square itself was given; `bundle` names the model that made it. `inversion` says how x_T was
    found; None for noise that was drawn. `state` (C, S, S) is the photograph's own, None for what
    was drawn.
    """

    z: Tensor
    x_T: Tensor
    alignment: Alignment | None
    bundle: str
    inversion: Inversion | None = None
    state: Tensor | None = None

    @property
    def drawn(self) -> bool:
        """Whether the noise was drawn, not inferred from a photograph."""
        return self.inversion is None

    def with_z(self, z: Tensor) -> "Code":
        """The same noise under another z (D,)."""
        return replace(self, z=z)

    def residuals_for(self, steps: int, stepping: str) -> Tensor | None:
        """What the inversion left, if it was made for decoding in these very steps."""
        made = self.inversion
        if made is None or (made.steps, made.stepping) != (steps, stepping):
            return None
        return made.residuals


@dataclass(frozen=True)
class Progress:
    """One step of a running request: x0_hat as a picture; at the last step, the result."""

    step: int
    steps: int
    image: Image.Image

    @property
    def done(self) -> bool:
        """Whether `image` is the final result."""
        return self.step == self.steps
