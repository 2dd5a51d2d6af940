"""A model in the archive format of the Seamless Scene Segmentation authors, written from the format's description.

write_archive(tmp_path / "model.zip", network.state_dict(), CONFIG, META)
"""

from __future__ import annotations

import io
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack
import torch
from support.tiny_experiment import tiny_experiment
from torch import Tensor

from seamseg.builders import build_network
from seamseg.config import Experiment
from seamseg.networks import PyramidNet

PARTS = ("body", "rpn_head", "roi_head", "sem_head")
NAMES = ("config.ini", "metadata.bin", "seamseg_r50_vistas.tar")

VISTAS = """
# as the authors' config for Mapillary Vistas
[general]
val_interval = 5
log_interval = 5

[body]
body = resnet50
normalization_mode = syncbn
body_params = {}
bn_frozen = no

[fpn]
extra_scales = 2
out_strides = (4, 8, 16, 32, 64, 128)

[rpn]
anchor_ratios = (0.2, 0.5, 1, 2, 5)
anchor_scale = 2
num_post_nms_val = 1000
min_size = 0
fpn_min_level = 0
fpn_levels = 6

[roi]
num_samples = 512
nms_threshold = 0.5
score_threshold = 0.05
max_predictions = 256

[sem]
pooling_size = (64, 64)
ohem = .25

[optimizer]
lr = 0.01
weight_decay_norm = no
nesterov = yes
loss_weights = (1., 1., 1., 1., 1., 1.)

[scheduler]
epochs = 85
type = multistep
update_mode = batch
params = {"gamma": 0.1, "milestones": [144000, 176000]}
burn_in_steps = 200

[dataloader]
shortest_size = 1920
longest_max_size = 2304
train_batch_size = 1
val_batch_size = 1
rgb_mean = (0.41738699, 0.45732192, 0.46886091)
rgb_std = (0.25685097, 0.26509955, 0.29067996)
random_flip = yes
random_scale = (0.8, 1.25)
num_workers = 2
train_set = training
val_set = validation
coco_gt
"""
"""Keys and values of the published ``config.ini`` for Mapillary Vistas."""


SMALL = """
[body]
body = resnet18
normalization_mode = {mode}
num_frozen = 0
bn_frozen = no
activation = elu
gn_groups = 4
[fpn]
out_channels = 16
[rpn]
hidden_channels = 16
[dataloader]
shortest_size = 64
"""
"""Settings of the smallest network that the published system supports, for :func:`tiny_experiment.narrow_body`."""


def metadata(num_stuff: int, num_things: int) -> dict[str, Any]:
    """Make the part ``meta`` of ``metadata.bin`` with artificial classes."""
    number = num_stuff + num_things
    return {
        "num_stuff": num_stuff,
        "num_thing": num_things,
        "categories": [f"{'stuff' if index < num_stuff else 'thing'}--{index}" for index in range(number)],
        "palette": [[index, 255 - index, 7] for index in range(number)],
        "original_ids": [number - index for index in range(number)],
    }


def snapshot(state: Mapping[str, Tensor], config: str = "", counters: bool = False) -> dict[str, Any]:
    """Make the content of the torch file; without counters, as in versions of torch in which norms had none."""
    parts: dict[str, Any] = {part: OrderedDict() for part in PARTS}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        if counters or not rest.endswith("num_batches_tracked"):
            parts[part][rest] = tensor
    momentum = {0: {"momentum_buffer": torch.zeros(3)}}
    meter = {"last": torch.zeros(()), "sum": torch.ones(()), "count": torch.tensor(3.0)}
    return {
        "config": config,
        "state_dict": parts
        | {"optimizer": {"state": momentum, "param_groups": [{"lr": 0.01, "params": [0]}]}, "loss_meter": meter},
        "training_meta": {"epoch": 84, "last_score": 0.37, "best_score": 0.38, "global_step": 191000},
    }


def torch_bytes(content: Any, early: bool = True) -> bytes:
    """Serialize the torch file; ``early`` uses the format of torch before 1.6, like the published file."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not early)
    return buffer.getvalue()


def published_files(
    state: Mapping[str, Tensor], config: str, meta: dict[str, Any], early: bool = True
) -> dict[str, bytes]:
    """Make the three files of the archive, by name."""
    image = {"id": "a", "cat": [255, 0], "size": [2, 3], "iscrowd": [0, 0]}
    packed = msgpack.packb({"meta": meta, "images": [image]})
    return dict(zip(NAMES, (config.encode(), packed, torch_bytes(snapshot(state), early)), strict=True))


def write_zip(path: Path, files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write an archive with any files."""
    with zipfile.ZipFile(path, "w", compression, compresslevel=1) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_archive(path: Path, state: Mapping[str, Tensor], config: str, meta: dict[str, Any]) -> Path:
    """Write an archive in the published format; it is not compressed, because weights hardly shrink."""
    return write_zip(path, published_files(state, config, meta), zipfile.ZIP_STORED)


def small_experiment(mode: str) -> Experiment:
    """Make the settings that correspond to ``SMALL``; only settings of the published system are small."""
    names = {"off": "affine"}.get(mode, mode).partition("+")
    heads = f", heads: {names[2]}" if names[2] else ""
    return tiny_experiment(
        None,
        f"norm={{name: {names[0]}, activation: elu, groups: 4{heads}}}",
        "roi={}",
        "sem={}",
        "rpn={channels: 16}",
    )


def small_network(mode: str = "bn") -> PyramidNet:
    """Build the network with random weights; call it within :func:`tiny_experiment.narrow_body`."""
    torch.manual_seed(0)
    built = build_network(small_experiment(mode), 2, 1)
    assert isinstance(built, PyramidNet)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.normal_()
    return built


def small_archive(folder: Path, mode: str = "bn") -> Path:
    """Write the small network, with two stuff classes and one thing class, as an archive."""
    return write_archive(
        folder / "model.zip", small_network(mode).state_dict(), SMALL.format(mode=mode), metadata(2, 1)
    )
