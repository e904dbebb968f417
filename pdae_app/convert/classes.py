"""Models that are told a class: frozen as one that always hears the same."""

from torch import Tensor

from pdae_app.convert.errors import ConvertError
from pdae_app.convert.hints import Hints


def with_fixed_class(
    tensors: dict[str, Tensor], bias: str, classes: Tensor | None, hints: Hints
) -> dict[str, Tensor]:
    """The tensors of an unconditional U-Net: the embedding of one class goes into a bias.

    Classes (K, E) are added to the time embedding, as the last bias of its layers is.

    Args:
        bias: the name of that bias.

    Raises:
        ConvertError: no class was chosen, or there is none of this number.
    """
    if classes is None:
        if hints.class_label is not None:
            raise ConvertError("this model is told no class; leave --class-label out")
        return tensors
    count, label = len(classes), hints.class_label
    if label is None:
        raise ConvertError(
            f"this model is told one of {count} classes with every picture. Choose the one that it "
            f"is frozen with: --class-label 0 to {count - 1}, or null for the last, which stands "
            "for none where a model was trained for guidance without a classifier"
        )
    number = count - 1 if label == "null" else int(label) if label.isdecimal() else count
    if number >= count:
        raise ConvertError(f"there is no class {label}; classes are 0 to {count - 1}, or null")
    own, known = classes[number], tensors.get(bias)
    if classes.ndim != 2 or known is None or known.shape != own.shape:
        raise ConvertError("the classes' embeddings are not as wide as the time embedding")
    hints.say(f"the model is always told class {number} of {count}")
    return tensors | {bias: known.float() + own.float()}
