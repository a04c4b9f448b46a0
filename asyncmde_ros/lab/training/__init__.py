"""Making weights for the fast network; needs torch."""
