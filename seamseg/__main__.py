"""``python -m seamseg``: the same as the command ``seamseg``; what ``torchrun -m seamseg`` calls."""

from seamseg.cli import main

raise SystemExit(main())
