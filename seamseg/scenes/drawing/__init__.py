"""From meters to pixels: camera, light, canvas, shadows and what the lens adds."""
