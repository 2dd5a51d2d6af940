"""Algorithms without weights: anchors, matching, sampling, losses, decoding, fusion. Heads are passed as arguments."""
