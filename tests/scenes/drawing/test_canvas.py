"""Drawing on a canvas, which changes picture and owners together."""

from __future__ import annotations

import numpy as np

from seamseg.scenes.drawing.canvas import Canvas

RED, BLUE = np.array([200.0, 0.0, 0.0]), np.array([0.0, 0.0, 300.0])


def test_later_polygon_covers_earlier_one_in_picture_and_owners() -> None:
    canvas = Canvas((20, 30))
    canvas.polygon(np.array([[2, 2], [20, 2], [20, 12], [2, 12]], np.float64), RED, 3)
    canvas.polygon(np.array([[10, 5], [40, 5], [40, 50], [10, 50]], np.float64), BLUE, 300)
    assert ((canvas.owners == 3) == (canvas.picture[..., 0] == 200)).all()
    assert ((canvas.owners == 300) == (canvas.picture[..., 2] == 255)).all()
    assert canvas.owners[8, 15] == 300
    assert canvas.owners[3, 15] == 3
    assert canvas.owners[19, 29] == 300
    assert canvas.owners[0, 0] == 0


def test_polygon_covers_exactly_its_pixels() -> None:
    canvas = Canvas((20, 30))
    canvas.polygon(np.array([[5, 4], [15, 4], [15, 10], [5, 10]], np.float64), RED, 1)
    rows, columns = np.nonzero(canvas.owners)
    assert (rows.min(), columns.min()) == (4, 5)
    assert abs(rows.max() - 9) <= 1
    assert abs(columns.max() - 14) <= 1


def test_degenerate_or_distant_polygons_draw_nothing() -> None:
    canvas = Canvas((20, 30))
    canvas.polygon(np.zeros((0, 2)), RED, 1)
    canvas.polygon(np.array([[1e9, 1e9], [1e9, 2e9], [2e9, 1e9]]), RED, 1)
    canvas.texture(np.full((4, 4, 3), 9, np.uint8), np.array([[50, 0], [60, 0], [60, 9], [50, 9]], np.float64), 1)
    assert not canvas.owners.any()


def test_texture_is_drawn_between_its_corners() -> None:
    texture = np.zeros((10, 20, 3), np.uint8)
    texture[:, :10, 0], texture[:, 10:, 1] = 100, 200
    canvas = Canvas((20, 40))
    canvas.texture(texture, np.array([[10, 5], [30, 5], [30, 15], [10, 15]], np.float64), 8)
    assert canvas.picture[10, 12].tolist() == [100, 0, 0]
    assert canvas.picture[10, 28].tolist() == [0, 200, 0]
    assert canvas.owners[10, 12] == canvas.owners[10, 28] == 8
    assert canvas.owners[2, 12] == canvas.owners[10, 35] == 0


def test_sprite_owns_only_masked_pixels() -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[:, :5] = 255
    canvas = Canvas((20, 20))
    corners = np.array([[5, 5], [15, 5], [15, 15], [5, 15]], np.float64)
    canvas.sprite(np.full((10, 10, 3), 77, np.uint8), mask, corners, 2)
    assert canvas.owners[10, 7] == 2
    assert canvas.owners[10, 13] == 0
    assert ((canvas.owners == 2) == (canvas.picture[..., 0] == 77)).all()
