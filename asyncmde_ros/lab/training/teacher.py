"""The foundation model as the source of every target: memory M1-M4 and inverse depth."""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from asyncmde_ros import weights
from asyncmde_ros.engine.interface import Buffer, Engine, Precision
from asyncmde_ros.engine.loader import POSITIONS_KEY, Threads
from asyncmde_ros.engine.positions import resize_positions
from asyncmde_ros.engine.torch import load_weights
from asyncmde_ros.model.config import CONFIGS
from asyncmde_ros.model.geometry import Size, patch_grid
from asyncmde_ros.model.preprocess import normalise
from asyncmde_ros.network.depth_anything import DepthAnythingV2
from asyncmde_ros.network.graphs import FrameEncoder
from asyncmde_ros.resources import share_directory

Picture = npt.NDArray[np.uint8]
Targets = dict[str, npt.NDArray[np.float16]]
"""``m1``-``m4``, each (C, rows, cols), and ``depth`` (H, W), as the foundation model gives them.
"""

TARGETS = ('m1', 'm2', 'm3', 'm4', 'depth')
GPU_BATCH = 16


class Teacher:
    """Depth Anything V2 behind one call, on whatever runs it fastest here."""

    def __init__(self, name: str, device: torch.device) -> None:
        """Load and verify the registry's weights of ``name``.  Raises WeightsError."""
        self.config = CONFIGS[name]
        source = weights.registry.model(name).foundation
        weights.fetch(source)
        self.tensors = weights.load(weights.locate(source))
        self.module = DepthAnythingV2(self.config).eval()
        load_weights(self.module, self.tensors)
        self._device = device
        self._engines: dict[Size, tuple[Engine, Mapping[str, Buffer]]] = {}
        if device.type == 'cuda':
            self.module.to(device)

    @property
    def id(self) -> str:
        """Return what targets depend on: model and arithmetic."""
        return f'{self.config.name}-{"cuda-fp16" if self._device.type == "cuda" else "cpu"}'

    def targets(self, pictures: Sequence[Picture]) -> Iterator[Targets]:
        """Yield the targets of pictures of one network size, (H, W, 3) uint8 RGB each."""
        if self._device.type == 'cuda' or importlib.util.find_spec('openvino') is None:
            yield from self._by_torch(pictures)
            return
        for picture in pictures:
            engine, buffers = self._engine(picture.shape[:2])
            normalise(picture, buffers['image'].array)
            engine.run(buffers)
            yield {name: (buffers[name].array[0, 0] if name == 'depth'
                          else buffers[name].array[0]).astype(np.float16) for name in TARGETS}

    def positions(self, size: Size) -> npt.NDArray[np.float32]:
        """Return the positional embedding, resized for a network size."""
        return resize_positions(self.tensors['pretrained.pos_embed'], patch_grid(size))

    def _engine(self, size: Size) -> tuple[Engine, Mapping[str, Buffer]]:
        if size not in self._engines:
            # The slow graph also holds a frame encoder, whose outputs nobody reads here.
            tensors: dict[str, npt.NDArray[np.floating]] = {
                f'foundation.{name}': value for name, value in self.tensors.items()}
            tensors |= {f'fast.frame_encoder.{name}': value.numpy() for name, value
                        in FrameEncoder(self.config).state_dict().items()}
            shapes = {'image': (1, 3, *size),
                      'positions': resize_positions(tensors[POSITIONS_KEY],
                                                    patch_grid(size)).shape}
            threads = Threads().resolved()
            cores = threads.fast + threads.slow
            from asyncmde_ros.engine.openvino import OpenVINOEngine
            graph = share_directory() / 'models' / f'slow_{self.config.name}.onnx'
            engine = OpenVINOEngine(graph, tensors, shapes, cores, Precision.AUTO, TARGETS)
            buffers = {name: engine.allocate(name) for name in (*engine.inputs, *engine.outputs)}
            buffers['positions'].array[...] = self.positions(size)
            self._engines[size] = engine, buffers
        return self._engines[size]

    @torch.inference_mode()
    def _by_torch(self, pictures: Sequence[Picture]) -> Iterator[Targets]:
        size = pictures[0].shape[:2]
        positions = torch.from_numpy(self.positions(size)).to(self._device)
        for start in range(0, len(pictures), GPU_BATCH):
            group = pictures[start:start + GPU_BATCH]
            images = np.empty((len(group), 3, *size), np.float32)
            for index, picture in enumerate(group):
                normalise(picture, images[index:index + 1])
            with torch.autocast(self._device.type, torch.float16,
                                enabled=self._device.type == 'cuda'):
                depth, levels = self.module(torch.from_numpy(images).to(self._device), positions)
            arrays = [t.half().cpu().numpy() for t in (*levels, depth[:, 0])]
            for index in range(len(group)):
                yield {name: array[index] for name, array in zip(TARGETS, arrays, strict=True)}
