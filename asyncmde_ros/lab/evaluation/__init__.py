"""How good the depth is: sequences with ground truth, alignment and the field's metrics."""
