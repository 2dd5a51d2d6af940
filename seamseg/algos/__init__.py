"""What has no weights: anchors, matching, sampling, losses, decoding, fusion. Heads come as arguments."""
