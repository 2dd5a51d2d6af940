"""Predictions turned into the archives that benchmark servers take.

A server wants its own ids of categories and images, its own names of files, and the size of its photographs. All three
are settled before a pixel is read (:mod:`~seamseg.data.submit.selection`, :mod:`~seamseg.data.submit.category_ids`);
then :mod:`~seamseg.data.submit.submission` writes one archive, several images at a time.
"""
