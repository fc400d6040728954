"""The attributes of a TrxFile, under the names of the TRX reference API; made when they are first asked for."""

from __future__ import annotations

from typing import Any, Self

from trxlib.trxfile.content import Content
from trxlib.trxfile.edit import describe
from trxlib.trxfile.views import check_sequence, check_table

__all__ = ["Attributes"]


class Attributes:
    """The attributes of a TrxFile. They can be assigned to, and what they hold can be written into.

    Whoever asks for one is handed arrays: what may have been written to is compared with the file when it is saved.
    """

    _content: Content
    #: Whether its arrays are its own, as the reference package calls it: not those of a selection.
    _copy_safe: bool = True

    @classmethod
    def _of(cls, content: Content) -> Self:
        """Return a file of this content."""
        trx = cls.__new__(cls)
        trx._content = content
        return trx

    @property
    def header(self) -> dict[str, Any]:
        """Affine, dimensions, counts, and keys that the file had besides.

        ``VOXEL_TO_RASMM`` is float64 of shape (4, 4), ``DIMENSIONS`` uint16 of shape (3,), ``NB_STREAMLINES`` and
        ``NB_VERTICES`` are int.

        Examples
        --------
        >>> header = trxlib.load("cohort.trx").header
        >>> header["NB_STREAMLINES"], header["DIMENSIONS"].tolist(), header["VOXEL_TO_RASMM"][0].tolist()
        (8, [80, 96, 64], [2.0, 0.0, 0.0, -80.0])
        """
        return self._content.header

    @header.setter
    def header(self, value: dict[str, Any]) -> None:
        self._content.header = check_table(value, "header")

    @property
    def streamlines(self) -> Any:
        """Streamlines in RASMM, mm: a nibabel ArraySequence over the mapped vertices, not a copy.

        Each streamline is an array of shape (vertices, 3).

        Examples
        --------
        >>> trx = trxlib.load("cohort.trx")
        >>> trx.streamlines[1].tolist()
        [[0.0, 1.0, 0.0], [1.0, 1.0, 0.0]]
        >>> [len(streamline) for streamline in trx.streamlines]
        [3, 2, 4, 1, 3, 2, 4, 1]
        """
        return self._content.show("positions", "offsets").streamlines

    @streamlines.setter
    def streamlines(self, value: Any) -> None:
        check_sequence(value)
        self._content.reopen()
        self._content.show().streamlines = value

    @property
    def groups(self) -> dict[str, Any]:
        """Name -> streamline indices, an array of uint32.

        Raises
        ------
        ShapeError
            If a group of the file has members that are no streamlines of it; looked for once, by whoever asks first.

        Examples
        --------
        >>> trx = trxlib.load("cohort.trx")
        >>> trx.groups["CST_R"].tolist()
        [2, 3, 6, 7]
        >>> trx.groups["heavy"] = np.flatnonzero(trx.data_per_streamline["weight"] > 2)
        >>> len(trx.get_group("heavy"))
        4
        """
        return self._content.show("groups").groups

    @groups.setter
    def groups(self, value: dict[str, Any]) -> None:
        self._content.show().groups = check_table(value, "groups")

    @property
    def data_per_streamline(self) -> dict[str, Any]:
        """Key -> array of shape (nb_streamlines, k).

        Examples
        --------
        >>> trx = trxlib.load("cohort.trx")
        >>> trx.data_per_streamline["weight"].shape
        (8, 1)
        >>> trx.data_per_streamline["vertices"] = np.uint16([[len(line)] for line in trx.streamlines])
        >>> trxlib.save(trx, "counted.trx")
        >>> trxlib.load("counted.trx").data_per_streamline["vertices"].ravel().tolist()
        [3, 2, 4, 1, 3, 2, 4, 1]
        """
        return self._content.show("dps").data_per_streamline

    @data_per_streamline.setter
    def data_per_streamline(self, value: dict[str, Any]) -> None:
        self._content.show().data_per_streamline = check_table(value, "data_per_streamline")

    @property
    def data_per_vertex(self) -> dict[str, Any]:
        """Key -> ArraySequence that shares the offsets of `streamlines`.

        Each streamline's values are an array of shape (vertices, k).

        Examples
        --------
        >>> trx = trxlib.load("cohort.trx")
        >>> trx.data_per_vertex["fa"][1].tolist()
        [[0.75], [1.0]]
        """
        return self._content.show("dpv", "offsets").data_per_vertex

    @data_per_vertex.setter
    def data_per_vertex(self, value: dict[str, Any]) -> None:
        self._content.show().data_per_vertex = check_table(value, "data_per_vertex")

    @property
    def data_per_group(self) -> dict[str, dict[str, Any]]:
        """Group -> key -> array of shape (1, k).

        Examples
        --------
        >>> trx = trxlib.load("cohort.trx")
        >>> trx.data_per_group["AF_L"] = {"mean_fa": np.array([[0.5]], dtype=np.float32)}
        >>> trxlib.save(trx, "with_dpg.trx")
        >>> trxlib.load("with_dpg.trx").data_per_group["AF_L"]["mean_fa"].tolist()
        [[0.5]]
        """
        return self._content.show("dpg").data_per_group

    @data_per_group.setter
    def data_per_group(self, value: dict[str, dict[str, Any]]) -> None:
        self._content.show().data_per_group = check_table(value, "data_per_group")

    def __str__(self) -> str:
        """Describe space, counts and keys."""
        return describe(self._content)

    def get_dtype_dict(self) -> dict[str, Any]:
        """Return the dtype of every array.

        Returns
        -------
        dict
            ``positions`` and ``offsets`` to a dtype; ``dpv``, ``dps`` and ``groups`` to a dict of name to dtype;
            ``dpg`` to a dict of group to such a dict.

        Examples
        --------
        >>> dtypes = trxlib.load("cohort.trx").get_dtype_dict()
        >>> dtypes["positions"].name, dtypes["offsets"].name, dtypes["dps"]["weight"].name
        ('float32', 'uint32', 'float32')
        """
        arrays, _ = self._content.selection()
        return {
            "positions": arrays.positions.dtype,
            "offsets": arrays.offsets.dtype,
            "dpv": {key: array.dtype for key, array in arrays.dpv.items()},
            "dps": {key: array.dtype for key, array in arrays.dps.items()},
            "dpg": {group: {key: value.dtype for key, value in values.items()} for group, values in arrays.dpg.items()},
            "groups": {group: members.dtype for group, members in arrays.groups.items()},
        }

    @property
    def _uncompressed_folder_handle(self) -> Any:
        """A folder with a `name`, gone after `close`: of an unpacked or preallocated file; None for any other.

        Programs put files that they map there, as dipy does for groups.
        """
        return self._content.folder()

    def _get_real_len(self) -> tuple[int, int]:
        """Return how many streamlines and vertices are filled."""
        return self._content.filled()

    def __len__(self) -> int:
        """Return the number of streamlines, with those preallocated."""
        return len(self._content)
