"""The networks, as plain torch modules; torch is needed to train and export them, not to run."""
