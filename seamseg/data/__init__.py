"""From disk to batches: data sets, transforms, samplers, the loader."""
