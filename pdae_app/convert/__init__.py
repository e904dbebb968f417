"""Foreign checkpoints and our networks: which tensor is which."""
