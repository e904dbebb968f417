"""Subjects (a model with its held-out pictures) and what is measured of them."""
