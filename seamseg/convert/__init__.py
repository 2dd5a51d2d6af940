"""Offline conversion of data sets: other layouts to COCO panoptic, and COCO panoptic to detection or semantic labels.

A converter creates one :class:`~seamseg.convert.job.Job` per split: a list of items (one per image) and a function
that converts a single item. :func:`~seamseg.convert.job.run_job` runs that function in several processes and keeps a
journal, so that an interrupted conversion can be resumed. It writes the JSON file last, so an incomplete conversion is
never mistaken for a data set.

Each labeling tool has a reader that returns the shapes of its export as a :class:`~seamseg.convert.drawn.DrawnExport`;
:mod:`seamseg.convert.drawn_job` converts them.
"""
