"""How EventSPD is trained, on events that are simulated."""
