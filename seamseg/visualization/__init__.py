"""Drawing of segmentations, annotations, confusion matrices and charts."""
