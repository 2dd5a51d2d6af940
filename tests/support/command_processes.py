"""The command in processes of its own, with the narrow network of `support.tiny_experiment`.

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
    """Of a process that finds what this one does, and leaves the other cores to the tests beside it."""
    paths = os.pathsep.join(path for path in sys.path if path)
    return os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
