"""Drawing of world geometry as pixels: camera, light, canvas, shadows and lens effects."""
