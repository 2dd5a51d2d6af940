"""Validation of data sets before training.

`split` reads the entries of a split leniently, so that one fault does not hide the next. `image` checks every image
separately, in several processes. `findings` collects the faults by kind, `statistics` counts per class, and `check`
combines both into a `report`, which can also draw a contact sheet. `repair` writes a copy with corrected entries.
"""
