"""The network of the recorded outputs of the published reference, and its inputs.

golden = Golden(shared)
network = golden.network()                       # state before the recorded training step
golden.use_recorded_statistics(network.eval())   # state of the recorded prediction
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seamseg.algos.fusion import PanopticFusion
from seamseg.builders import build_fusion, build_network
from seamseg.config import Experiment, load_experiment
from seamseg.networks import PyramidNet
from seamseg.structures import GroundTruth, PackedSequence

NUM_STUFF, NUM_THINGS = 28, 37
NUM_IMAGES = 2
CONFIG = Path(__file__).resolve().parents[2] / "configs" / "vistas_r50.yaml"
OVERRIDES = (
    "norm.scale=abs",  # convention of the published weights
    "norm.momentum=1.0",  # the recorded statistics come from a single training step
    "rpn.num_samples=1000000",
    "roi.num_samples=1000000",
    "rpn.training={before_nms: 1000, after_nms: 200}",
    "rpn.inference={before_nms: 1000, after_nms: 100}",
    "fusion={score_threshold: 0.2, overlap_threshold: 0.5, min_stuff_area: 256}",
)
GAINS = {
    "roi_cls.weight": 5.0,
    "conv_obj.weight": 2.0,
    "conv_bbx.weight": 0.3,
    "roi_bbx.weight": 0.5,
    "roi_msk.weight": 3.0,
    "conv_sem.weight": 3.0,
}


def made_up_weights(name: str, shape: tuple[int, ...], gains: Mapping[str, float] = GAINS) -> NDArray[np.float32]:
    """Make the weights of the reference run: random numbers seeded by the name, with a gain by name suffix or 1.4."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    if len(shape) >= 2:
        gain = next((gain for end, gain in gains.items() if name.endswith(end)), 1.4)
        weights = rng.standard_normal(shape) * gain / np.sqrt(np.prod(shape[1:]))
    elif name.endswith("weight"):
        weights = rng.uniform(0.5, 1.5, shape) * np.where(rng.uniform(size=shape) < 0.1, -1, 1)
    else:
        weights = rng.standard_normal(shape) * 0.1
    return weights.astype(np.float32)


@dataclass(frozen=True)
class Golden:
    """The recorded inputs and outputs.

    Attributes:
        shared: Folder `shared` with the recordings.
    """

    shared: Path

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every entry of the state dict."""
        content = json.loads((self.shared / "golden" / "vistas_r50_state_dict.json").read_text())
        return {name: tuple(shape) for name, shape in content.items()}

    @cached_property
    def numbers(self) -> dict[str, NDArray[np.generic]]:
        """Inputs and outputs by key."""
        with np.load(self.shared / "golden" / "vistas_r50.npz") as file:
            return dict(file)

    @property
    def experiment(self) -> Experiment:
        """The published settings, except the numbers that were changed for the recording."""
        return load_experiment(CONFIG, OVERRIDES)

    def network(self) -> PyramidNet:
        """Build the network with the weights of the reference run and the statistics of a new network."""
        network = build_network(self.experiment, NUM_STUFF, NUM_THINGS)
        assert isinstance(network, PyramidNet)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(torch.from_numpy(made_up_weights(name, tuple(parameter.shape))))
        return network

    def use_recorded_statistics(self, network: PyramidNet) -> None:
        """Load the running mean and variance of every norm."""
        with np.load(self.shared / "golden" / "vistas_r50_running_stats.npz") as file:
            statistics = {name: torch.from_numpy(file[name]) for name in file.files}
        missing, unknown = network.load_state_dict(statistics, strict=False)
        parameters = {name for name, _ in network.named_parameters()}
        assert set(missing) == parameters
        assert not unknown

    def fusion(self) -> PanopticFusion:
        return build_fusion(self.experiment, NUM_STUFF, NUM_THINGS)

    def images(self) -> PackedSequence:
        """Two normalized images."""
        return PackedSequence(self._inputs("img"))

    def ground_truth(self) -> GroundTruth:
        """Ground truth of the two images."""
        parts = (PackedSequence(self._inputs(key)) for key in ("msk", "cat", "iscrowd", "bbx"))
        return GroundTruth(*parts)

    def _inputs(self, key: str) -> list[Tensor]:
        return [torch.from_numpy(self.numbers[f"in/{image}/{key}"]) for image in range(NUM_IMAGES)]
