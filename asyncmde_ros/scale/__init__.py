"""Metres from relative depth: 1/m = a * relative + b, by a few distances that something measured.

Everything is in inverse depth, in which the relative map is affine-invariant (Ranftl et al.,
"Towards Robust Monocular Depth Estimation", TPAMI 2022, section 5): measurements are inverted
first, the prediction is fitted to them, and only the result becomes metres.
"""
