"""Predictions turned into the archives that benchmark servers take.

A server wants its own ids of categories and images, its own names of files, and the size of its images. All three
are settled before a pixel is read (:mod:`~seamseg.submit.selection`, :mod:`~seamseg.submit.predictions`);
then :mod:`~seamseg.submit.submission` writes one archive, several images at a time.
"""
