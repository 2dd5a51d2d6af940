"""Conversion of predictions to the archives that benchmark servers accept.

A server requires its own category ids, image ids, file names and image sizes. These are checked before any pixels are
read (:mod:`~seamseg.submit.selection`, :mod:`~seamseg.submit.predictions`). Then :mod:`~seamseg.submit.submission`
writes one archive, processing several images in parallel.
"""
