"""What a model is, to those who run it and those who train it: sizes, images, tensors."""
