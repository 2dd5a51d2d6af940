"""The `seamseg` command in separate processes, with the narrow network of `support.tiny_experiment`.

subprocess.run([*COMMAND, "predict", …], env=environment())
"""

from __future__ import annotations

import os
import sys

_NARROW = """
import sys, seamseg.cli
from support import tiny_experiment
with tiny_experiment.narrow_body():
    sys.exit(seamseg.cli.main(sys.argv[1:]))
"""

COMMAND = (sys.executable, "-c", _NARROW)


def environment() -> dict[str, str]:
    """Environment for a process with the same import paths, which uses one core only."""
    paths = os.pathsep.join(path for path in sys.path if path)
    return os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
