"""A picture to judge an archive by: three views, by direction and by group, of an even sample of its streamlines.

Drawn with numpy and matplotlib alone, without a display. The same archive gives the same pixels.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.model.arrays import TrxArrays
from trxlib.model.offsets import gather_rows

__all__ = ["Segments", "colours_of_groups", "draw_mosaic", "render_view", "sample_segments"]

Array = npt.NDArray[Any]
#: Okabe and Ito's colours, and two of Tol's, told apart by colour-blind people; the dark ones are left out.
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#5C8DFF", "#EE99AA", "#44BB99", "#BBCC33")
OTHER = "#8A8F98"
_GROUND = "#0d1017"
_TEXT, _DIM = "#f2f4f8", "#8b929d"
_MAX_STREAMLINES = 12_000
_MAX_VERTICES = 1_200_000
_MARGIN, _GAP, _HEAD, _CAPTION = 30, 18, 62, 36  # pixels
_MAX_PANEL, _MIN_WIDTH = 560, 1100
_LEGEND_COLUMNS = 5
_FINE = 2  # drawn at so many times the picture's pixels and averaged, so that lines are smooth


@dataclass(frozen=True)
class View:
    """A projection: which axes of RASMM go to the right and up, and what stands at the four sides."""

    name: str
    right: int
    up: int
    sides: tuple[str, str]


VIEWS = (View("sagittal", 1, 2, ("P", "A")), View("coronal", 0, 2, ("L", "R")), View("axial", 0, 1, ("L", "R")))


@dataclass(frozen=True)
class Segments:
    """Pieces of streamlines, each from one vertex to the next.

    Parameters
    ----------
    starts, ends : ndarray, float32 of shape (n, 3)
        RASMM in mm.
    rows : ndarray, int64 of shape (n,)
        The streamline of each.
    nb_streamlines : int
        How many streamlines were taken.
    """

    starts: Array
    ends: Array
    rows: Array
    nb_streamlines: int


def sample_segments(
    arrays: TrxArrays, max_streamlines: int = _MAX_STREAMLINES, max_vertices: int = _MAX_VERTICES
) -> Segments:
    """Take streamlines at even distances through the archive, so that every subject and group has its share.

    Parameters
    ----------
    arrays : TrxArrays
        Not modified; only the chosen vertices are read.
    max_streamlines, max_vertices : int
        Bounds, roughly kept for the vertices.
    """
    total = arrays.header.nb_streamlines
    mean = arrays.header.nb_vertices / total if total else 0
    wanted = min(total, max_streamlines, int(max_vertices / mean) + 1 if mean else total)
    rows = np.linspace(0, total, wanted, endpoint=False).astype(np.int64)
    starts = arrays.offsets[rows].astype(np.int64)
    counts = arrays.offsets[rows + 1].astype(np.int64) - starts
    positions = gather_rows(arrays.positions, starts, counts).astype(np.float32)
    owners = np.repeat(rows, counts)
    # Rows are distinct, so a change of owner is the border of two streamlines.
    inside = owners[1:] == owners[:-1]
    inside &= np.isfinite(positions[1:]).all(axis=1) & np.isfinite(positions[:-1]).all(axis=1)
    return Segments(positions[:-1][inside], positions[1:][inside], owners[1:][inside], len(rows))


def colours_of_groups(
    arrays: TrxArrays, groups: Sequence[str], limit: int = len(PALETTE)
) -> tuple[dict[str, str], Array]:
    """Give the largest groups a colour each, the rest a dim grey.

    Parameters
    ----------
    arrays : TrxArrays
        Not modified.
    groups : sequence of str
        Names of groups of the archive.
    limit : int
        How many get a colour of their own.

    Returns
    -------
    tuple
        Colours by group, in the order of `groups`; and for every streamline its colour and weight, uint8 of shape
        (nb_streamlines, 4): that of its smallest group where it has several, little weight without a group.
    """
    largest = sorted(groups, key=lambda name: -len(arrays.groups[name]))[:limit]
    chosen = {name: PALETTE[i] for i, name in enumerate(name for name in groups if name in largest)}
    rgbw = np.tile(np.array([*_rgb(OTHER), 18], dtype=np.uint8), (arrays.header.nb_streamlines, 1))
    for name in sorted(chosen, key=lambda name: -len(arrays.groups[name])):
        rgbw[arrays.groups[name].reshape(-1)] = (*_rgb(chosen[name]), 255)
    return chosen, rgbw


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def directions(segments: Segments) -> Array:
    """Return the usual colours of directions: red left-right, green front-back, blue up-down; float32, (n, 4)."""
    steps = np.abs(segments.ends - segments.starts)
    steps /= np.maximum(np.linalg.norm(steps, axis=1, keepdims=True), 1e-9)
    # Pure blue is dark to the eye.
    mixed = steps @ np.array([[1, 0.08, 0.12], [0.05, 0.95, 0.15], [0.22, 0.28, 1]], dtype=np.float32)
    return np.concatenate([np.clip(mixed, 0, 1), np.ones((len(steps), 1), dtype=np.float32)], axis=1)


def render_view(segments: Segments, colourings: Sequence[Array], view: View, box: Array, scale: float) -> list[Array]:
    """Draw segments by density: a pixel has the mean colour of what crosses it, brighter where more does.

    Parameters
    ----------
    segments : Segments
        What to draw.
    colourings : sequence of ndarray, float of shape (n, 4)
        Colour and weight of each segment, from 0 to 1; each gives a picture.
    view : View
        The projection.
    box : ndarray, float of shape (2, 3)
        Corners of what is seen, RASMM in mm.
    scale : float
        Pixels per mm.

    Returns
    -------
    list of ndarray, float32 of shape (height, width, 4)
        RGB and opacity from 0 to 1; row 0 is the lowest.
    """
    axes = [view.right, view.up]
    width, height = np.maximum(np.ceil((box[1] - box[0])[axes] * scale), 1).astype(int) * _FINE
    starts = (segments.starts[:, axes] - box[0, axes]) * (scale * _FINE)
    steps = (segments.ends[:, axes] - box[0, axes]) * (scale * _FINE) - starts
    # A point per pixel crossed; a stray vertex must not cost the machine.
    counts = np.clip(np.ceil(np.abs(steps).max(axis=1, initial=1)), 1, 4 * width).astype(np.int64)
    sums = np.zeros((len(colourings), 4, width * height))
    for part in _parts(counts, 1 << 20):
        n = counts[part]
        owner = np.repeat(np.arange(part.start, part.stop), n)
        fraction = (np.arange(len(owner)) - np.repeat(np.cumsum(n) - n, n) + 0.5) / np.repeat(n, n)
        right, up = np.floor(starts[owner] + steps[owner] * fraction[:, None]).astype(np.int64).T
        seen = (right >= 0) & (right < width) & (up >= 0) & (up < height)
        pixel, owner = (up * width + right)[seen], owner[seen]
        for colours, total in zip(colourings, sums, strict=True):
            weight = colours[owner, 3]
            total[3] += np.bincount(pixel, weights=weight, minlength=width * height)
            for channel in range(3):
                total[channel] += np.bincount(pixel, weights=colours[owner, channel] * weight, minlength=width * height)
    return [_tone(total.reshape(4, height, width)) for total in sums]


def _parts(counts: Array, limit: int) -> list[slice]:
    """Cut segments into slices of about `limit` drawn points."""
    edges = np.searchsorted(np.cumsum(counts), np.arange(0, counts.sum() + limit, limit))
    edges = np.unique(np.concatenate([edges, [0, len(counts)]])).tolist()
    return [slice(low, high) for low, high in pairwise(edges)]


def _tone(sums: Array) -> Array:
    """Average to the picture's pixels, and turn densities into opacities."""
    _, height, width = sums.shape
    sums = sums.reshape(4, height // _FINE, _FINE, width // _FINE, _FINE).mean(axis=(2, 4))
    density = sums[3]
    bright = float(np.percentile(density[density > 0], 99)) if (density > 0).any() else 1.0
    # A faint halo lets single streamlines be seen beside dense bundles.
    halo = np.zeros_like(sums)
    for axis in (1, 2):
        halo += np.roll(sums, 1, axis=axis) + np.roll(sums, -1, axis=axis)
    sums = sums + 0.12 * halo
    rgb = sums[:3] / np.maximum(sums[3], 1e-9)
    opacity = np.clip(np.log1p(6 * sums[3]) / np.log1p(6 * max(bright, 0.5)), 0, 1) ** 0.8
    # Paler where many lie upon each other, as light adds up.
    rgb = rgb + (1 - rgb) * 0.18 * opacity**4
    return np.moveaxis(np.concatenate([rgb, opacity[None]]), 0, 2).astype(np.float32)


def _box(segments: Segments) -> Array:
    """Return the corners of what is shown: nearly all vertices, with a margin; strays stay outside."""
    if not len(segments.starts):
        return np.array([[-50.0, -50, -50], [50, 50, 50]])
    low, high = np.percentile(segments.starts, [0.05, 99.95], axis=0)
    centre, half = (low + high) / 2, np.maximum((high - low) / 2, 5) * 1.06 + 2
    return np.array([centre - half, centre + half])


def draw_mosaic(
    arrays: TrxArrays,
    path: str | os.PathLike[str],
    *,
    title: str,
    subtitle: str = "",
    groups: Sequence[str] = (),
    width: int = 1600,
) -> None:
    """Write a PNG with three views, above by direction, below by group.

    Parameters
    ----------
    arrays : TrxArrays
        The archive, not modified.
    path : path
        The PNG.
    title, subtitle : str
        Above the views, left and right.
    groups : sequence of str
        Groups that get a colour below.
    width : int
        Of the picture in pixels, at most.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    segments = sample_segments(arrays)
    legend, rgbw = colours_of_groups(arrays, groups)
    colourings = [directions(segments), rgbw[segments.rows].astype(np.float32) / 255]
    box = _box(segments)
    edges = box[1] - box[0]
    # All panels have one height, so that none is mostly black; each has a scale of its own.
    shapes = [float(edges[view.right] / edges[view.up]) for view in VIEWS]
    panel = min((width - 2 * _MARGIN - 2 * _GAP) / sum(shapes), _MAX_PANEL)
    width = max(round(panel * sum(shapes) + 2 * _MARGIN + 2 * _GAP), _MIN_WIDTH)
    foot = 56 + 30 * -(-len(legend) // _LEGEND_COLUMNS)
    height = round(_HEAD + 2 * (_CAPTION + panel) + foot)
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor=_GROUND)
    FigureCanvasAgg(figure)
    page = _Page(figure, width, height)
    page.text(_MARGIN, 34, title, size=17, weight="bold", color=_TEXT)
    page.text(width - _MARGIN, 34, subtitle, size=11, ha="right")
    left = (width - panel * sum(shapes) - 2 * _GAP) / 2
    for view, shape in zip(VIEWS, shapes, strict=True):
        scale = panel / float(edges[view.up])
        images = render_view(segments, colourings, view, box, scale)
        for number, image in enumerate(images):
            top = _HEAD + _CAPTION + number * (_CAPTION + panel)
            page.panel(left, top, panel * shape, panel, image, view)
        page.scale_bar(left + 16, _HEAD + _CAPTION + panel - 16, scale)
        left += panel * shape + _GAP
    _draw_legend(page, arrays, legend, segments.nb_streamlines, _HEAD + 2 * (_CAPTION + panel))
    figure.savefig(path, format="png", facecolor=_GROUND, metadata={"Software": None})


class _Page:
    """A figure in pixels, counted from the top left."""

    def __init__(self, figure: Any, width: int, height: int) -> None:
        self.figure = figure
        self.width = width
        self.height = height

    def text(self, x: float, y: float, words: str, **style: Any) -> None:
        """Write words, by default small and dim, centred on y."""
        from matplotlib.patheffects import withStroke

        # A dark rim, since words may lie on streamlines.
        rim = [withStroke(linewidth=3, foreground=_GROUND)]
        style = {"color": _DIM, "size": 10.5, "va": "center", "path_effects": rim, **style}
        self.figure.text(x / self.width, 1 - y / self.height, words, **style)

    def panel(self, x: float, y: float, width: float, height: float, image: Array, view: View) -> None:
        """Put a picture on black, with the view's name above and its sides left and right."""
        self.text(x + width / 2, y - 14, view.name, ha="center")
        place = (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(place, facecolor="black")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.imshow(image, origin="lower", aspect="auto", interpolation="antialiased")
        self.text(x + 12, y + height / 2, view.sides[0], size=12, color=_TEXT)
        self.text(x + width - 12, y + height / 2, view.sides[1], size=12, color=_TEXT, ha="right")

    def scale_bar(self, x: float, y: float, scale: float) -> None:
        """Draw a bar of a round number of mm."""
        from matplotlib.lines import Line2D

        length = next((n for n in (50, 20, 10, 5, 2) if n * scale < 0.14 * self.width), 1)
        end = x + length * scale
        across, up = [x / self.width, end / self.width], [1 - y / self.height] * 2
        self.figure.add_artist(Line2D(across, up, color=_TEXT, linewidth=1.6, solid_capstyle="butt"))
        self.text((x + end) / 2, y - 12, f"{length} mm", size=9, color=_TEXT, ha="center")


def _draw_legend(page: _Page, arrays: TrxArrays, legend: Mapping[str, str], nb_drawn: int, top: float) -> None:
    """Name the colours, with the number of streamlines of each group."""
    words = "above: colour by direction (red left-right, green front-back, blue up-down)"
    if legend:
        words += "  \u00b7  below: colour by group"
    total = arrays.header.nb_streamlines
    words += f"  \u00b7  {nb_drawn:,} of {total:,} streamlines drawn" if nb_drawn < total else ""
    page.text(_MARGIN, top + 22, words)
    step = (page.width - 2 * _MARGIN) / _LEGEND_COLUMNS
    for number, (name, colour) in enumerate(legend.items()):
        line, column = divmod(number, _LEGEND_COLUMNS)
        x, y = _MARGIN + column * step, top + 54 + 30 * line
        shown = name if len(name) <= 24 else name[:23] + "\u2026"
        page.text(x, y, "\u25a0", color=colour, size=14)
        page.text(x + 22, y, f"{shown}  {len(arrays.groups[name]):,}", color=colour, size=11.5)
