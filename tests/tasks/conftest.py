# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by the GNU General Public License,
# version 3 or later, that can be found in the LICENSE file.

"""Substitute for `lsst.afw`, the stack's older image library, which is not on PyPI.

It implements the parts of `lsst.afw`, `lsst.geom` and `lsst.daf.base` that
`lsst.images` needs to convert an exposure, with the original names and
signatures, so that these tests run the conversions of `lsst.images`. As in
`lsst.afw`, mask planes are global to the process.
"""

from __future__ import annotations

import copy
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import astropy.io.fits
import numpy as np
import numpy.typing as npt
import pytest

import lsst
from lsst.daf.butler import StorageClassDelegate
from lsst.images import VisitImage

PLANES = ("BAD", "SAT", "INTRP", "CR", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "SUSPECT", "NO_DATA")
"""Initial planes of each mask of `lsst.afw`."""

NEW_NAMES = {
    "SAT": "SATURATED",
    "CR": "COSMIC_RAY",
    "INTRP": "INTERPOLATED",
    "EDGE": "DETECTION_EDGE",
    "UNMASKEDNAN": "UNMASKED_NAN",
}


class Point:
    def __init__(self, x: float, y: float) -> None:
        self.x, self.y = x, y

    def getX(self) -> float:
        return self.x

    def getY(self) -> float:
        return self.y

    def __iter__(self) -> Iterator[float]:
        return iter((self.x, self.y))


class IntervalI:
    def __init__(self, *, min: int, max: int) -> None:
        self.begin, self.end = min, max + 1


class Box2I:
    def __init__(self, *, x: IntervalI, y: IntervalI) -> None:
        self.x, self.y = x, y

    def getMin(self) -> Point:
        return Point(self.x.begin, self.y.begin)


class PropertyList(dict[str, Any]):
    def add(self, name: str, value: Any) -> None:
        self[name] = value

    def to_astropy_header(self) -> astropy.io.fits.Header:
        header = astropy.io.fits.Header()
        for name, value in self.items():
            header[name if len(name) <= 8 else f"HIERARCH {name}"] = value
        return header


class Image:
    def __init__(
        self, array: npt.NDArray[Any], deep: bool = False, dtype: type | None = None, xy0: Point | None = None
    ) -> None:
        self.array = array.copy() if deep else array
        self._xy0 = xy0 or Point(0, 0)

    def getX0(self) -> int:
        return int(self._xy0.x)

    def getY0(self) -> int:
        return int(self._xy0.y)

    def getBBox(self) -> Box2I:
        ny, nx = self.array.shape
        x, y = self.getX0(), self.getY0()
        return Box2I(x=IntervalI(min=x, max=x + nx - 1), y=IntervalI(min=y, max=y + ny - 1))


class Mask(Image):
    planes: dict[str, int] = {}

    def __init__(self, bbox: Box2I) -> None:
        shape = (bbox.y.end - bbox.y.begin, bbox.x.end - bbox.x.begin)
        super().__init__(np.zeros(shape, dtype=np.int32), xy0=bbox.getMin())

    @classmethod
    def addMaskPlane(cls, name: str) -> int:
        return cls.planes.setdefault(name, len(cls.planes))

    def getMaskPlaneDict(self) -> dict[str, int]:
        return dict(self.planes)

    def getPlaneBitMask(self, name: str) -> int:
        return 1 << self.planes[name]


class MaskedImage:
    def __init__(self, image: Image, mask: Mask, variance: Image, dtype: Any = None) -> None:
        self.image, self.mask, self.variance = image, mask, variance

    def getImage(self) -> Image:
        return self.image

    def getMask(self) -> Mask:
        return self.mask

    def getVariance(self) -> Image:
        return self.variance


class GaussianPsf:
    def __init__(self, width: int, height: int, sigma: float) -> None:
        self._dimensions, self._sigma = Point(width, height), sigma

    def getDimensions(self) -> Point:
        return self._dimensions

    def getSigma(self) -> float:
        return self._sigma


class PhotoCalib:
    def __init__(self, mean: float) -> None:
        self._mean, self._isConstant = mean, True

    def getCalibrationMean(self) -> float:
        return self._mean


class DateTime:
    def __init__(self, nsecs: int | None) -> None:
        self._nsecs = nsecs

    def isValid(self) -> bool:
        return self._nsecs is not None

    def nsecs(self) -> int:
        assert self._nsecs is not None
        return self._nsecs


class VisitInfo:
    def __init__(self, id: int, date: DateTime, exposure_time: float, instrument: str) -> None:
        self._id, self._date, self._time, self._instrument = id, date, exposure_time, instrument

    def getId(self) -> int:
        return self._id

    def getDate(self) -> DateTime:
        return self._date

    def getExposureTime(self) -> float:
        return self._time

    def getInstrumentLabel(self) -> str:
        return self._instrument


def setVisitInfoMetadata(metadata: PropertyList, visit_info: VisitInfo) -> None:
    metadata.update(
        {
            "IDNUM": visit_info.getId(),
            "INSTRUMENT": visit_info.getInstrumentLabel(),
            "EXPTIME": visit_info.getExposureTime(),
            "DARKTIME": visit_info.getExposureTime(),
            "OBS-LONG": -70.7,
            "OBS-LAT": -30.2,
            "OBS-ELEV": 2660.0,
        }
    )


class Detector:
    """A detector without amplifiers, made from a detector of `lsst.images`."""

    def __init__(self, original: Any) -> None:
        self._original = original

    def getBBox(self) -> Box2I:
        box: Box2I = self._original.bbox.to_legacy()
        return box

    def getId(self) -> int:
        return int(self._original.id)

    def getName(self) -> str:
        return str(self._original.name)

    def getSerial(self) -> str:
        return str(self._original.serial)

    def getPhysicalType(self) -> str:
        return str(self._original.physical_type)

    def getType(self) -> Any:
        return self._original.type

    def getPixelSize(self) -> Point:
        return Point(self._original.pixel_size, self._original.pixel_size)

    def getAmplifiers(self) -> list[Any]:
        return []

    def getOrientation(self) -> Any:
        angle = types.SimpleNamespace(asRadians=lambda: 0.0)
        return types.SimpleNamespace(
            getFpPosition3=lambda: (0.0, 0.0, 0.0),
            getReferencePoint=lambda: (0.0, 0.0),
            getYaw=lambda: angle,
            getPitch=lambda: angle,
            getRoll=lambda: angle,
        )

    def getTransformMap(self) -> Any:
        return types.SimpleNamespace(makeFrameSet=lambda detectors: self._original._frames._ast)


class SkyWcs:
    def __init__(self, frame_dict: Any) -> None:
        self._frame_dict = frame_dict

    def getFrameDict(self) -> Any:
        return self._frame_dict

    def getFitsApproximation(self) -> None:
        return None


class ExposureInfo:
    def __init__(self, **parts: Any) -> None:
        self.parts = parts

    def __getattr__(self, name: str) -> Callable[[], Any]:
        if not name.startswith("get"):
            raise AttributeError(name)
        return lambda: self.parts.get(name.removeprefix("get"))


class ExposureF:
    def __init__(self, masked_image: MaskedImage, info: ExposureInfo, metadata: PropertyList) -> None:
        self._masked_image, self.info, self._metadata = masked_image, info, metadata

    image = property(lambda self: self._masked_image.image)
    mask = property(lambda self: self._masked_image.mask)
    variance = property(lambda self: self._masked_image.variance)

    def getMaskedImage(self) -> MaskedImage:
        return self._masked_image

    def getMetadata(self) -> PropertyList:
        return self._metadata

    def getBBox(self) -> Box2I:
        return self._masked_image.image.getBBox()

    def getWcs(self) -> Any:
        return self.info.parts.get("Wcs")

    def getPsf(self) -> Any:
        return self.info.parts.get("Psf")

    def getDetector(self) -> Any:
        return self.info.parts.get("Detector")

    def getPhotoCalib(self) -> Any:
        return self.info.parts.get("PhotoCalib")

    def clone(self) -> ExposureF:
        return copy.deepcopy(self)


def exposure_of(
    image: VisitImage, *, calibration: float = 1.0, unit: str | None = "nJy", **parts: Any
) -> ExposureF:
    """Return an exposure with the pixels of a simulated image.

    Parameters
    ----------
    image
        The image; its mask planes get their names in `lsst.afw`.
    calibration
        Mean of its `PhotoCalib`, nJy per unit.
    unit
        Value of ``BUNIT``; omitted if `None`.
    **parts
        Components of the exposure to replace, such as ``Psf``.
    """
    old_names = {new: old for old, new in NEW_NAMES.items()}
    mask = Mask(image.bbox.to_legacy())
    for name in image.mask.schema.names:
        bit = 1 << mask.addMaskPlane(old_names.get(name, name))
        mask.array[image.mask.get(name)] |= bit
    start = Point(image.bbox.x.start, image.bbox.y.start)
    masked_image = MaskedImage(
        Image(image.image.array, xy0=start), mask=mask, variance=Image(image.variance.array, xy0=start)
    )
    info = image.obs_info
    middle = info.datetime_begin.tai + 0.5 * (info.datetime_end - info.datetime_begin)
    nanoseconds = round((middle.jd1 - 2440587.5) * 86400e9) + round(middle.jd2 * 86400e9)
    values = {
        "Wcs": SkyWcs(image.sky_projection._pixel_to_sky._ast_mapping),
        "Psf": image.psf.to_legacy(),
        "Detector": Detector(image.detector),
        "PhotoCalib": PhotoCalib(calibration),
        "Filter": types.SimpleNamespace(bandLabel=image.band, physicalLabel=info.physical_filter),
        "VisitInfo": VisitInfo(
            info.exposure_id, DateTime(nanoseconds), info.exposure_time.to_value("s"), info.instrument
        ),
        "Id": 1,
        **parts,
    }
    metadata = PropertyList() if unit is None else PropertyList(BUNIT=unit)
    return ExposureF(masked_image, ExposureInfo(**values), metadata)


@pytest.fixture
def make_exposure(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ExposureF]:
    """Return `exposure_of`, with the substitute installed as `lsst.afw`."""

    def kind(name: str) -> type:
        return type(name, (), {})

    modules: dict[str, dict[str, Any]] = {
        "lsst.afw": {},
        "lsst.afw.detection": {"GaussianPsf": GaussianPsf, "Psf": kind("Psf")},
        "lsst.afw.image": {
            "Exposure": ExposureF,
            "ExposureF": ExposureF,
            "Image": Image,
            "Mask": Mask,
            "MaskedImage": MaskedImage,
            "setVisitInfoMetadata": setVisitInfoMetadata,
        },
        "lsst.cell_coadds": {"StitchedPsf": kind("StitchedPsf")},
        "lsst.daf.base": {"PropertyList": PropertyList},
        "lsst.geom": {"Box2I": Box2I, "IntervalI": IntervalI, "Point2I": Point, "Point2D": Point},
        "lsst.meas.extensions": {},
        "lsst.obs": {},
        "lsst.obs.base": {},
        "lsst.obs.base.exposureAssembler": {"ExposureAssembler": StorageClassDelegate},
        "lsst.meas.extensions.piff": {},
        "lsst.meas.extensions.piff.piffPsf": {"PiffPsf": kind("PiffPsf")},
    }
    for name, content in modules.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, child = name.rpartition(".")
        monkeypatch.setattr(lsst if parent == "lsst" else sys.modules[parent], child, module, raising=False)
    monkeypatch.setattr(Mask, "planes", {name: bit for bit, name in enumerate(PLANES)})
    return exposure_of
