"""Sizes of the two published variants."""

from dataclasses import dataclass

DECODERS = ('dpt', 'light')


@dataclass(frozen=True)
class ModelConfig:
    """One pairing of a foundation model and a fast network.

    ``channels`` is C, the width of the memory and of the DPT decoder; ``taps`` are the transformer
    blocks whose tokens the DPT head reads.  DINOv2 sizes: Oquab et al. 2023, table 17; DPT widths:
    Depth Anything V2, ``DepthAnythingV2`` model configs.  ``projector_context`` is ours (see
    :class:`asyncmde_ros.network.spatial_memory.Projector`), and so is the ``light`` decoder
    (:class:`asyncmde_ros.network.dpt.LightDecoder`); without them the parameter counts are the
    paper's.
    """

    name: str
    embed_dim: int
    heads: int
    head_channels: tuple[int, int, int, int]
    channels: int
    encoder_width: float
    projector_context: bool
    decoder: str
    depth: int = 12
    taps: tuple[int, int, int, int] = (2, 5, 8, 11)
    trained_grid: int = 37


VITS = ModelConfig('vits', embed_dim=384, heads=6, head_channels=(48, 96, 192, 384), channels=64,
                   encoder_width=0.75, projector_context=True, decoder='light')
VITB = ModelConfig('vitb', embed_dim=768, heads=12, head_channels=(96, 192, 384, 768),
                   channels=128, encoder_width=1.0, projector_context=False, decoder='dpt')
CONFIGS = {config.name: config for config in (VITS, VITB)}
DEFAULT_MODEL = VITS.name
