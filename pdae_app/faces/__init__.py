"""A photograph in, an aligned square out, and the way back."""
