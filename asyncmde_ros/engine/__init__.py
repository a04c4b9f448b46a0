"""Where hardware lives: named tensors in, named tensors out."""
