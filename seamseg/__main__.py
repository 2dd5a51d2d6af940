"""Entry point of ``python -m seamseg`` and ``torchrun -m seamseg``: the command ``seamseg``."""

from seamseg.cli import main

raise SystemExit(main())
