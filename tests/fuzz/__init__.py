"""Damaged images, PNGs of segments and JSON files for everything that reads a data set: ``make fuzz``.

`seeds` makes sound files, `mutations` damages bytes, PNGs and JSON values, `cases` says which file case N is and what
reads it, `worker` does some cases in a process of its own, and `run` watches workers for crashes and hangs. A case
depends on the seed and its number alone.
"""
