"""Spatial transforms of tractograms, from the files of every registration program.

A transform brings *points* from the native space, that of the tractogram, to the space of the cohort. Programs store
transforms for resampling images, which asks the other way round: where in the native image does this voxel of the
template get its value from? So a file that takes a native image to the template often takes points from the template
to the native image. What each format means here:

=========  ==========================================================================================================
format     how points go
=========  ==========================================================================================================
`ras`      four rows of four numbers: native RASMM to the cohort's RASMM, as they stand
`itk`      ITK, ANTs, Slicer, c3d: as ITK's ``TransformPoint`` moves points (in LPS, and back to RAS). The files that
           ``antsRegistration`` names for native to template move points from the template to the native image: name
           the linear one with `inverse`, and of warps the inverse warp.
`fsl`      the matrix that FLIRT writes for ``-in native -ref template``; needs `source`, the native image
`mrtrix`   linear (text): what ``mrregister native template`` writes, so the one with which ``mrtransform -linear``
           takes the native image to the template. A warp (three volumes): as ``tcktransform`` takes it, an image in
           the native grid whose values are positions in the template.
`lta`      FreeSurfer: source (native) to destination (template)
=========  ==========================================================================================================

>>> moved = read_transforms([[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).apply([[1.0, 2.0, 3.0]])
>>> moved.points
array([[6., 2., 3.]])
"""

from trxlib.spaces.transforms.reading import read_transforms
from trxlib.spaces.transforms.spec import FORMATS, TransformSpec
from trxlib.spaces.transforms.transform import Moved, Transform, find_streamlines_outside

__all__ = [
    "FORMATS",
    "Moved",
    "Transform",
    "TransformSpec",
    "find_streamlines_outside",
    "read_transforms",
]
