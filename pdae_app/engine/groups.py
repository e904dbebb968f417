"""Attributes in the groups that people look for them in."""

from collections.abc import Sequence

EXPRESSION, HAIR, FACE, MORE = "Expression", "Hair", "Face", "More"

# The names are CelebA's, and those of the shipped model.
MEMBERS = {
    EXPRESSION: ("Smiling", "Mouth_Slightly_Open", "Narrow_Eyes"),
    HAIR: (
        *("Bald", "Receding_Hairline", "Gray_Hair", "Blond_Hair", "Brown_Hair", "Black_Hair"),
        *("Long_Hair", "Straight_Hair", "Wavy_Hair", "Bangs", "Sideburns", "Facial_Hair"),
        *("No_Beard", "Mustache", "Goatee", "5_o_Clock_Shadow"),
    ),
    FACE: (
        *("Male", "Young", "Eyeglasses", "Attractive", "Chubby", "Double_Chin", "Oval_Face"),
        *("High_Cheekbones", "Rosy_Cheeks", "Pale_Skin", "Big_Nose", "Pointy_Nose", "Big_Lips"),
        *("Arched_Eyebrows", "Bushy_Eyebrows", "Bags_Under_Eyes", "Heavy_Makeup"),
    ),
}
GROUPS = (*MEMBERS, MORE)


def attribute_group(name: str) -> str:
    """The group of an attribute; what is not known is in `MORE`."""
    return next((group for group, names in MEMBERS.items() if name in names), MORE)


def grouped(names: Sequence[str]) -> dict[str, list[str]]:
    """The names by group, in the order of `GROUPS`, each group as it was given; none is empty."""
    groups = {group: [n for n in names if attribute_group(n) == group] for group in GROUPS}
    return {group: members for group, members in groups.items() if members}
