"""EventSPD's network (PyTorch): depth at the points that are asked for."""
