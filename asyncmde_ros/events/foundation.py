"""Which foundation model looks at pictures of events: one that is adapted to them, or as it is."""

from pathlib import Path

from asyncmde_ros import weights

UNADAPTED = Path('none')


def adapter(model: str, wanted: Path | None = None) -> Path | None:
    """Return the adapter of a model to pictures of events, None for the model as it is.

    ``wanted``: a file, UNADAPTED, or None for the shipped one, if there is one of ``model``.
    Raises WeightsError for a file that cannot be used.
    """
    if wanted == UNADAPTED:
        return None
    shipped = weights.registry.model(model).events
    if wanted is not None:
        return weights.locate(shipped, wanted)
    return None if shipped is None else weights.locate(shipped)
