"""Whether a data set is right, before hours of training are spent on it.

The entries of a split are read leniently (`split`), so that one fault does not hide the next; every image is looked at
on its own, in several processes (`image`); what they find is collected by kind (`findings`), with numbers per class
(`statistics`), into a report (`check`). `repair` writes what can be put right into a copy, `sheet` draws a selection.
"""
