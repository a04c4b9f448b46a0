"""The fast network before training: honest from the first day.

Decoder: the foundation model's own.  Encoder: ImageNet-trained MobileNetV3-Small.  Gates:
constant, "keep the memory".  Projector: the ridge regression of the foundation model's memory on
the encoder's taps, which has a closed form, so that regions that the memory never saw decode to
something plausible instead of to the depth of a zero vector.
"""

import argparse
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from asyncmde_ros import weights
from asyncmde_ros.engine.positions import resize_positions
from asyncmde_ros.engine.torch import NEVER_READ, load_weights
from asyncmde_ros.geometry import network_size, patch_grid
from asyncmde_ros.model_config import CONFIGS, ModelConfig
from asyncmde_ros.network.depth_anything import DepthAnythingV2
from asyncmde_ros.network.graphs import FastNetwork, Observer
from asyncmde_ros.network.spatial_memory import interpolate
from asyncmde_ros.preprocess import normalise, shrink

logger = logging.getLogger(__name__)

RIDGE = 1e-3
"""Regulariser, relative to the mean variance of a tap's channels."""

SHORT_SIDE = 252
SEED = 0
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png')


def images(directory: Path, count: int) -> list[Path]:
    """Return ``count`` images of a folder, spread evenly over their sorted names."""
    paths = sorted(p for p in directory.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise FileNotFoundError(f'no {", ".join(IMAGE_SUFFIXES)} files in {directory}')
    picks = np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int)
    return [paths[i] for i in picks]


def network_inputs(paths: Iterable[Path],
                   pos_embed: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the network's image (1, 3, H, W) and positions for each readable file."""
    for path in paths:
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if bgr is None:
            logger.warning('%s cannot be read; left out', path)
            continue
        size = network_size(bgr.shape[:2], SHORT_SIDE)
        image = np.empty((1, 3, *size), np.float32)
        normalise(shrink(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), size), image)
        yield (torch.from_numpy(image),
               torch.from_numpy(resize_positions(pos_embed, patch_grid(size))))


@torch.inference_mode()
def fit_projector(foundation: DepthAnythingV2, observer: Observer,
                  samples: Iterable[tuple[Tensor, Tensor]]) -> list[float]:
    """Set ``observer.projector`` to the ridge regression of M1-M4 on the taps.

    Interpolation and a 1x1 convolution commute, so each level is an ordinary linear regression
    over pixels.  Returns the share of each level's variance that is explained (R squared).
    """
    levels = len(observer.projector.convs)
    xx: list[Tensor | None] = [None] * levels
    xy: list[Tensor | None] = [None] * levels
    yy = [0.0] * levels
    for image, positions in samples:
        _, memory = foundation(image, positions)
        for level, (tap, target) in enumerate(zip(observer.encode(image), memory, strict=True)):
            x = interpolate(tap, target.shape[2:])[0].flatten(1).double()
            x = torch.cat([x, torch.ones(1, x.shape[1], dtype=x.dtype)])    # (taps + 1, pixels)
            y = target[0].flatten(1).double()                               # (C, pixels)
            xx[level] = x @ x.T if xx[level] is None else xx[level] + x @ x.T
            xy[level] = x @ y.T if xy[level] is None else xy[level] + x @ y.T
            yy[level] += float(y.square().sum())
    explained = []
    for level, (gram, cross) in enumerate(zip(xx, xy, strict=True)):
        if gram is None or cross is None:
            raise ValueError('no image could be read')
        penalty = RIDGE * gram.diagonal()[:-1].mean() * torch.eye(len(gram), dtype=gram.dtype)
        penalty[-1, -1] = 0  # the bias is free
        solution = torch.linalg.solve(gram + penalty, cross)                # (taps + 1, C)
        conv = observer.projector.convs[level]
        conv.weight.copy_(solution[:-1].T[:, :, None, None])
        conv.bias.copy_(solution[-1])
        count = gram[-1, -1]
        mean = cross[-1] / count
        total = yy[level] - float(count * mean.square().sum())
        residual = yy[level] - float((2 * (solution * cross) - solution * (gram @ solution)).sum())
        explained.append(1 - residual / total)
    return explained


def initial_network(config: ModelConfig, foundation: DepthAnythingV2,
                    encoder: dict[str, np.ndarray]) -> FastNetwork:
    """Return the fast network with the given encoder and the foundation model's decoder."""
    torch.manual_seed(SEED)
    network = FastNetwork(config).eval()
    load_weights(network.observer.encoder, encoder)
    network.decoder.load_state_dict(foundation.depth_head.scratch.state_dict(), strict=False)
    return network


def save(network: FastNetwork, path: Path) -> None:
    """Write the tensors that a forward pass reads, as fp16 safetensors."""
    tensors = {name: value.numpy().astype(np.float16)
               for name, value in sorted(network.state_dict().items())
               if not any(part in name for part in NEVER_READ)}
    save_file(tensors, path, metadata={'format': 'pt'})


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m asyncmde_ros.training.initial',
        description="Make the fast network's initial weights from the foundation model, an "
                    'ImageNet encoder and a folder of photos.')
    parser.add_argument('--model', choices=sorted(CONFIGS), default='vits')
    parser.add_argument('--encoder', type=Path, required=True,
                        help="safetensors with timm's tf_mobilenetv3_small_* key names")
    parser.add_argument('--images', type=Path, required=True, help='folder of photos')
    parser.add_argument('--count', type=int, default=200, help='how many (default: 200)')
    parser.add_argument('--out', type=Path, required=True)
    args = parser.parse_args()
    config = CONFIGS[args.model]
    tensors = weights.load(weights.locate(weights.registry.model(args.model).foundation))
    foundation = DepthAnythingV2(config).eval()
    load_weights(foundation, tensors)
    network = initial_network(config, foundation, load_file(args.encoder))
    paths = images(args.images, args.count)
    samples = network_inputs(tqdm(paths, desc='projector', unit='image'),
                             tensors['pretrained.pos_embed'])
    explained = fit_projector(foundation, network.observer, samples)
    save(network, args.out)
    print(f'{args.out}: explained variance of M1-M4: '
          + ', '.join(f'{share:.2f}' for share in explained))


if __name__ == '__main__':
    main()
