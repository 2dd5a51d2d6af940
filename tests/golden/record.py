"""Record the numbers of the tiny network: PYTHONPATH=tests python -m golden.record

Run it only for a change that is meant to change numbers, and mention it in the commit. The images are the same for all
norms and are stored once.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from golden.tiny_case import NORMS, Numbers, tiny_numbers

FILE = Path(__file__).with_name("tiny_network.npz")


def main() -> None:
    torch.set_num_threads(1)
    recorded: Numbers = {}
    for norm in NORMS:
        for key, array in tiny_numbers(norm).items():
            recorded[key if key.startswith("image/") else f"{norm}/{key}"] = array
    np.savez_compressed(FILE, **recorded)  # type: ignore[arg-type]
    print(f"{FILE}: {len(recorded)} arrays, {FILE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
