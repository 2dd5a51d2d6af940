"""Data sets converted once: other layouts to COCO panoptic, and that back to detection and semantic annotation.

A converter turns its source into a :class:`~seamseg.convert.job.Job` per split: a list of items (one per image)
and a function that converts one. :func:`~seamseg.convert.job.run_job` applies it in several processes, keeps a
journal to go on from after an interruption, and writes the JSON file, without which nothing is a data set, at the end.
"""
