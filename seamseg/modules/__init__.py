"""What has weights: norms, residual blocks, bodies, pyramid, heads. No targets and no losses."""
