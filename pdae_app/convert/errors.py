"""What can go wrong with a foreign checkpoint."""


class ConvertError(ValueError):
    """A checkpoint that cannot be converted; the message says what is wrong, and where."""
