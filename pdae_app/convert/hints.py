"""What shapes cannot tell: said by a flag, a configuration file or a preset, else guessed aloud."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

from pdae_app.convert.errors import ConvertError
from pdae_app.models.presets import preset

Say = Callable[[str], None]


@dataclass
class Hints:
    """Facts that the caller gave; None where nothing is known.

    `class_label` is the number of the class that a model is frozen with, or "null"; `first_stage`
    a folder, in place of the pipeline's own; `settings` the whole configuration file.
    `say` takes every line for the person: progress, and each guess.
    """

    image_size: int | None = None
    heads: int | None = None
    head_channels: int | None = None
    dropout: float | None = None
    schedule: str | None = None
    base_channels: int | None = None
    framing: str | None = None
    new_attention: bool | None = None
    class_label: str | None = None
    scaling_factor: float | None = None
    first_stage: str | None = None
    settings: dict | None = field(default=None, repr=False)
    say: Say = field(default=print, repr=False)

    def known(self, name: str, guess, why: str):
        """The value of `name`, or the guess, which is said."""
        value = getattr(self, name)
        if value is not None:
            return value
        flag = name.replace("_", "-")
        self.say(f"guess: {name} = {guess} ({why}); --{flag} says otherwise")
        return guess

    def filled_from(self, other: "Hints") -> "Hints":
        """These hints, and those of `other` where these know nothing."""
        missing = {
            f.name: getattr(other, f.name) for f in fields(self) if getattr(self, f.name) is None
        }
        return replace(self, **missing)


# How the pictures of the papers' data sets were cropped.
PRESET_FRAMINGS = {
    "celeba64": "celeba",
    "ffhq128": "ffhq",
    "celebahq128": "ffhq",
    "horse128": "center",
    "bedroom128": "center",
}


def of_preset(name: str) -> Hints:
    """The hints of one of our named architectures.

    Raises:
        ConvertError: there is none of that name.
    """
    try:
        unet = preset(name).unet
    except ValueError as error:
        raise ConvertError(str(error)) from error
    return Hints(
        unet.image_size,
        unet.heads,
        dropout=unet.dropout,
        base_channels=unet.base_channels,
        framing=PRESET_FRAMINGS.get(name),
    )


OFFICIAL_KEYS = {
    "image_size": ("image_size", "img_size", "resolution", "sample_size"),
    "heads": ("num_heads", "net_attn_heads"),
    "head_channels": ("head_channel", "num_head_channels", "attention_head_dim"),
    "dropout": ("dropout",),
    "base_channels": ("base_channel", "model_channels", "net_ch"),
    "new_attention": ("use_new_attention_order",),
}


def of_config(settings: dict) -> Hints:
    """The hints of an official configuration, wherever in it they stand."""
    found, mappings = {}, nested_mappings(settings)
    for name, keys in OFFICIAL_KEYS.items():
        values = [mapping[key] for key in keys for mapping in mappings if key in mapping]
        # -1 stands for "not used".
        usable = [value for value in values if type(value) in (bool, int, float) and value >= 0]
        if usable:
            found[name] = usable[0]
    return Hints(**found)


def nested_mappings(settings: dict) -> list[dict]:
    """The mapping and all that are nested in it, outermost first, each once.

    YAML's aliases can make one mapping appear a billion times.
    """
    found, known = [settings], {id(settings)}
    for mapping in found:
        for child in mapping.values():
            if isinstance(child, dict) and id(child) not in known:
                known.add(id(child))
                found.append(child)
    return found
