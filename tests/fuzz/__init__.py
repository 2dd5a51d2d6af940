"""Damaged images, segment PNGs and JSON files for everything that reads a data set: ``make fuzz``.

`seeds` makes valid files, `mutations` damages bytes, PNGs and JSON values, `cases` defines which file case N is,
`readers` lists what reads it, `worker` runs some cases in its own process, and `run` watches workers for crashes and
hangs. A case depends only on the seed and its number.
"""
