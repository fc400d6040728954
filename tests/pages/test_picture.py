"""The picture: what is drawn where, in which colour, and that it is always the same."""

import numpy as np
import pytest
from matplotlib.image import imread

from trxlib.model.arrays import TrxArrays
from trxlib.model.header import Header
from trxlib.pages.picture import (
    PALETTE,
    VIEWS,
    Segments,
    colours_of_groups,
    directions,
    draw_mosaic,
    render_view,
    sample_segments,
)


def make_arrays(streamlines, groups=None):
    lengths = [len(points) for points in streamlines]
    positions = np.concatenate([np.reshape(points, (-1, 3)) for points in [*streamlines, []]]).astype("f4")
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype("u4")
    header = Header(np.eye(4), (10, 10, 10), len(streamlines), int(offsets[-1]))
    members = {name: np.array(ids, dtype="u4") for name, ids in (groups or {}).items()}
    return TrxArrays(header, positions, offsets, groups=members)


def line(start, end, n=20):
    return np.linspace(start, end, n)


CROSS = [line((-40, 0, 0), (40, 0, 0)), line((0, -60, 0), (0, 60, 0)), [], [(1, 2, 3)], line((0, 0, -30), (0, 0, 30))]


def test_segments_join_vertices_of_one_streamline_only():
    segments = sample_segments(make_arrays(CROSS))
    assert segments.nb_streamlines == 5
    assert np.bincount(segments.rows, minlength=5).tolist() == [19, 19, 0, 0, 19]
    assert np.linalg.norm(segments.ends - segments.starts, axis=1).max() < 7


def test_samples_are_even_and_bounded():
    arrays = make_arrays([line((i, 0, 0), (i, 1, 0), 3) for i in range(100)])
    assert np.unique(sample_segments(arrays, max_streamlines=10).rows).tolist() == list(range(0, 100, 10))
    assert sample_segments(arrays, max_vertices=30).nb_streamlines == 11
    assert sample_segments(make_arrays([])).nb_streamlines == 0


def test_vertices_that_are_not_finite_are_left_out():
    points = line((0, 0, 0), (9, 0, 0), 10)
    points[4] = np.nan
    assert len(sample_segments(make_arrays([points])).rows) == 7


def test_directions_have_their_usual_colours():
    segments = sample_segments(make_arrays(CROSS))
    strongest = directions(segments)[:, :3].argmax(axis=1)
    assert [int(strongest[segments.rows == row][0]) for row in (0, 1, 4)] == [0, 1, 2]


def test_groups_get_colours_and_the_smallest_wins():
    arrays = make_arrays(CROSS, {"large": [0, 1, 2], "small": [1], "none": []})
    legend, rgbw = colours_of_groups(arrays, ["large", "small"])
    assert legend == {"large": PALETTE[0], "small": PALETTE[1]}
    assert rgbw[0].tolist() == [0xE6, 0x9F, 0x00, 255]
    assert rgbw[1].tolist() == [0x56, 0xB4, 0xE9, 255]
    assert rgbw[4, 3] < 50  # in no group


def test_only_the_largest_groups_get_a_colour():
    arrays = make_arrays(CROSS, {"a": [0], "b": [1, 2], "c": [3, 4, 0]})
    assert list(colours_of_groups(arrays, ["a", "b", "c"], limit=2)[0]) == ["b", "c"]


@pytest.mark.parametrize(("view", "spot"), [(VIEWS[0], (9, 19)), (VIEWS[1], (9, 15)), (VIEWS[2], (19, 15))])
def test_streamlines_are_drawn_where_they_are(view, spot):
    # One short line at a corner of the box, far right, front and top of the centre.
    ends = np.array([[5.5, 9.5, -0.5], [5.9, 9.9, -0.1]], dtype="f4")
    segments = Segments(ends[:1], ends[1:], np.array([0]), 1)
    box = np.array([[-10.0, -10, -10], [10, 10, 10]])
    (image,) = render_view(segments, [np.ones((1, 4), dtype="f4")], view, box, 1.0)
    assert image.shape == (20, 20, 4)
    row, column = np.unravel_index(image[:, :, 3].argmax(), (20, 20))
    assert (int(row), int(column)) == spot


def test_lines_outside_of_the_box_are_left_out():
    ends = np.array([[50.0, 50, 50], [60, 60, 60]], dtype="f4")
    segments = Segments(ends[:1], ends[1:], np.array([0]), 1)
    box = np.array([[-10.0, -10, -10], [10, 10, 10]])
    (image,) = render_view(segments, [np.ones((1, 4), dtype="f4")], VIEWS[0], box, 1.0)
    assert not image[:, :, 3].any()


def test_mosaic_is_drawn_and_always_the_same(tmp_path):
    arrays = make_arrays(CROSS, {"a": [0], "b": [1, 4]})
    for name in ("one.png", "two.png"):
        draw_mosaic(arrays, tmp_path / name, title="cross", subtitle="5 streamlines", groups=["a", "b"])
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    image = imread(tmp_path / "one.png")
    assert image.shape[1] >= 1000
    # There are red, green and blue lines, and the first two colours of groups.
    pixels = image.reshape(-1, image.shape[2])[:, :3]
    for colour in ((0.9, 0.1, 0.2), (0.1, 0.9, 0.2), (0.3, 0.3, 0.9), (0.9, 0.62, 0.0), (0.34, 0.7, 0.91)):
        assert (np.abs(pixels - colour).max(axis=1) < 0.25).any(), colour


@pytest.mark.parametrize("streamlines", [[], [[]], [[(1, 1, 1)]]])
def test_mosaic_of_nothing(streamlines, tmp_path):
    draw_mosaic(make_arrays(streamlines), tmp_path / "m.png", title="nothing")
    assert imread(tmp_path / "m.png").shape[1] >= 1000
