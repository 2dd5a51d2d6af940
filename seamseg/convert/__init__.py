"""Offline conversion of data sets: other layouts to COCO panoptic, and COCO panoptic to detection or semantic labels.

A converter creates one :class:`~seamseg.convert.job.Job` per split: a list of items (one per image) and a function
that converts a single item. :func:`~seamseg.convert.job.run_job` runs that function in several processes and keeps a
journal, so that an interrupted conversion can be resumed. It writes the JSON file last, so an incomplete conversion is
never mistaken for a data set.
"""
