"""What the whole system costs, and each of its parts: medians, tails and ratios in one run."""
