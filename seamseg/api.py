"""For those who use seamseg as a library."""

from __future__ import annotations

from pathlib import Path

from seamseg import build
from seamseg.predict import Predictor
from seamseg.runtime.distributed import choose_device


def load_model(path: Path | str, device: str | None = None) -> Predictor:
    """A trained network that segments photographs.

    >>> predictor = load_model("runs/demo")                                          # doctest: +SKIP
    >>> segmentation = predictor(cv2.imread("street.jpg")[:, :, ::-1])               # doctest: +SKIP

    Args:
        path: of a run folder, or of a file such as ``model.safetensors``.
        device: such as ``cpu`` or ``cuda:1``; None chooses CUDA where there is one.

    Raises:
        ValueError: nothing is there, it is damaged, or there is no such device.
    """
    chosen = choose_device(device)
    model = build.load_model(Path(path), chosen)
    return Predictor(model.network, model.transform, model.fusion, chosen)
