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

It implements the parts of `lsst.afw`, `lsst.geom`, `lsst.daf.base` and `lsst.obs.base` that `lsst.images`
and the tasks need to convert an exposure, with the original names, signatures and limits: mask planes are
global to the process and their pixels are signed, boxes and kernels have the types of `lsst.geom`, copies
are shallow unless asked for, an amplifier beyond the image is an error, and a Butler converts no exposure
without an exposure record.
"""

from __future__ import annotations

import sys
import types
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import astropy.io.fits
import astropy.time
import astropy.units as u
import numpy as np
import numpy.typing as npt
import pytest

import lsst
from lsst.daf.butler import Butler, DatasetType, FormatterV2, StorageClassDelegate
from lsst.images import Box, VisitImage
from lsst.images.fields import ChebyshevField
from lsst.meas.trails.repository.butler import open_or_create
from lsst.meas.trails.sim.simulation import Simulation
from lsst.resources import ResourcePath

PLANES = ("BAD", "SAT", "INTRP", "CR", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "SUSPECT", "NO_DATA")
"""Initial planes of each mask of `lsst.afw`."""

NEW_NAMES = {
    "SAT": "SATURATED",
    "CR": "COSMIC_RAY",
    "INTRP": "INTERPOLATED",
    "EDGE": "DETECTION_EDGE",
    "UNMASKEDNAN": "UNMASKED_NAN",
}

_MAX_PLANES = 32


class LengthError(Exception):
    """Substitute for `lsst.pex.exceptions.LengthError`."""


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
    """An interval; it has no ``start`` and no ``stop``."""

    def __init__(self, *, min: int, max: int) -> None:
        self.begin, self.end, self.min, self.max = min, max + 1, min, max


class Box2I:
    def __init__(self, *, x: IntervalI | None = None, y: IntervalI | None = None) -> None:
        self.x, self.y = x or IntervalI(min=0, max=-1), y or IntervalI(min=0, max=-1)

    def getMin(self) -> Point:
        return Point(self.x.begin, self.y.begin)

    def isEmpty(self) -> bool:
        return self.x.end <= self.x.begin or self.y.end <= self.y.begin

    def contains(self, other: Box2I) -> bool:
        return all(
            mine.min <= theirs.min and theirs.max <= mine.max
            for mine, theirs in ((self.x, other.x), (self.y, other.y))
        )

    def include(self, other: Box2I) -> None:
        if self.isEmpty():
            self.x, self.y = other.x, other.y
        self.x = IntervalI(min=min(self.x.min, other.x.min), max=max(self.x.max, other.x.max))
        self.y = IntervalI(min=min(self.y.min, other.y.min), max=max(self.y.max, other.y.max))


class PropertyList(dict[str, Any]):
    def add(self, name: str, value: Any) -> None:
        self[name] = value

    def deepCopy(self) -> PropertyList:
        return PropertyList(self)

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

    def cut(self, bbox: Box2I) -> npt.NDArray[Any]:
        """Return a view of the pixels of a box."""
        if not isinstance(bbox, Box2I):
            raise TypeError(f"incompatible function arguments: {type(bbox).__name__} is not a Box2I")
        if not self.getBBox().contains(bbox):
            raise LengthError("Box2I does not fit in image")
        x, y = self.getX0(), self.getY0()
        return self.array[bbox.y.begin - y : bbox.y.end - y, bbox.x.begin - x : bbox.x.end - x]

    def subset(self, bbox: Box2I) -> Image:
        return Image(self.cut(bbox), xy0=bbox.getMin())


class Mask(Image):
    planes: ClassVar[dict[str, int]] = {}

    def __init__(self, bbox: Box2I) -> None:
        shape = (bbox.y.end - bbox.y.begin, bbox.x.end - bbox.x.begin)
        super().__init__(np.zeros(shape, dtype=np.int32), xy0=bbox.getMin())

    @classmethod
    def addMaskPlane(cls, name: str) -> int:
        if name not in cls.planes and len(cls.planes) >= _MAX_PLANES:
            raise RuntimeError(f"Max number of planes ({_MAX_PLANES}) already used")
        return cls.planes.setdefault(name, len(cls.planes))

    def getMaskPlaneDict(self) -> dict[str, int]:
        return dict(self.planes)

    def getPlaneBitMask(self, name: str) -> int:
        # A signed integer: the last plane is the sign.
        return int(np.uint32(1 << self.planes[name]).astype(np.int32))

    def subset(self, bbox: Box2I) -> Mask:
        part = Mask(bbox)
        part.array = self.cut(bbox)
        return part


class MaskedImage:
    def __init__(self, image: Image, mask: Mask, variance: Image, dtype: Any = None) -> None:
        self.image, self.mask, self.variance = image, mask, variance

    def getImage(self) -> Image:
        return self.image

    def getMask(self) -> Mask:
        return self.mask

    def getVariance(self) -> Image:
        return self.variance

    def copy(self) -> MaskedImage:
        """Return a copy of all pixels."""
        box = self.image.getBBox()
        mask = Mask(box)
        mask.array[...] = self.mask.array
        planes = (Image(plane.array.copy(), xy0=box.getMin()) for plane in (self.image, self.variance))
        return MaskedImage(next(planes), mask, next(planes))


class Psf:
    """Base class of PSFs; its kernels need not have the same box everywhere."""

    def computeKernelImage(self, position: Point) -> Image:
        raise NotImplementedError

    def computeKernelBBox(self, position: Point) -> Box2I:
        return self.computeKernelImage(position).getBBox()


class GaussianPsf(Psf):
    def __init__(self, width: int, height: int, sigma: float) -> None:
        self._dimensions, self._sigma = Point(width, height), sigma

    def getDimensions(self) -> Point:
        return self._dimensions

    def getSigma(self) -> float:
        return self._sigma


class KernelPsf(Psf):
    """A Gaussian as an image, which `lsst.images` cannot write.

    Parameters
    ----------
    sigma
        Standard deviation, pixels.
    dimensions
        Width and height of the kernel; the center of one with an even side is at half of its size, as in
        `lsst.afw.math.Kernel`.
    growth
        Additional columns at the left edge of the image and beyond, as for a ``WarpedPsf``.
    """

    def __init__(self, sigma: float, dimensions: tuple[int, int] = (25, 25), growth: int = 0) -> None:
        self._sigma, self._dimensions, self._growth = sigma, dimensions, growth

    def computeKernelImage(self, position: Point) -> Image:
        width, height = self._dimensions
        if position.getX() < 100.0:
            width += self._growth
        x, y = np.arange(width) - width // 2, np.arange(height) - height // 2
        kernel = np.exp(-0.5 * (x[None, :] ** 2 + y[:, None] ** 2) / self._sigma**2)
        return Image(kernel / kernel.sum(), xy0=Point(x[0], y[0]))


class ChebyshevBoundedField:
    """Substitute for `lsst.afw.math.ChebyshevBoundedField`."""

    def __init__(self, bbox: Box2I, coefficients: npt.NDArray[np.float64]) -> None:
        self._bbox, self._coefficients = bbox, np.asarray(coefficients, dtype=np.float64)

    def getBBox(self) -> Box2I:
        return self._bbox

    def getCoefficients(self) -> npt.NDArray[np.float64]:
        return self._coefficients


class PhotoCalib:
    """Calibration to nJy; a calibration that varies has a mean and a field that it scales."""

    def __init__(self, mean: float, field: ChebyshevBoundedField | None = None) -> None:
        self._mean, self._field, self._isConstant = mean, field, field is None

    def getCalibrationMean(self) -> float:
        return self._mean

    def computeScaledCalibration(self) -> ChebyshevBoundedField:
        assert self._field is not None
        return self._field

    def calibrateImage(self, masked_image: MaskedImage) -> MaskedImage:
        result = masked_image.copy()
        box = Box.from_legacy(masked_image.image.getBBox())
        factor: Any = self._mean
        if self._field is not None:
            field = ChebyshevField(Box.from_legacy(self._field.getBBox()), self._field.getCoefficients())
            factor = self._mean * field.render(box).array
        result.image.array[...] = masked_image.image.array * factor
        result.variance.array[...] = masked_image.variance.array * factor**2
        return result


class DateTime:
    def __init__(self, nsecs: int | None = None) -> None:
        self._nsecs = nsecs

    def isValid(self) -> bool:
        return self._nsecs is not None

    def nsecs(self) -> int:
        assert self._nsecs is not None
        return self._nsecs


class VisitInfo:
    """Read-only; a part that is not given is unknown: NaN, an invalid date, id 0."""

    def __init__(
        self,
        *,
        exposureTime: float = np.nan,
        date: DateTime | None = None,
        observatory: tuple[float, float, float] | None = None,
        instrumentLabel: str = "",
        id: int = 0,
        hasSimulatedContent: bool = False,
    ) -> None:
        self._parts = {
            "exposureTime": exposureTime,
            "date": date or DateTime(),
            "observatory": observatory,
            "instrumentLabel": instrumentLabel,
            "id": id,
            "hasSimulatedContent": hasSimulatedContent,
        }

    def __getattr__(self, name: str) -> Any:
        parts = self.__dict__["_parts"]
        if name in parts:
            return parts[name]
        getter = name.removeprefix("get")
        if name.startswith("get") and (part := getter[0].lower() + getter[1:]) in parts:
            return lambda: parts[part]
        raise AttributeError(name)

    def copyWith(self, **changes: Any) -> VisitInfo:
        return VisitInfo(**{**self._parts, **changes})


def setVisitInfoMetadata(metadata: PropertyList, visit_info: VisitInfo) -> None:
    """Write what is known, as the original does."""
    if np.isfinite(visit_info.exposureTime):
        metadata["EXPTIME"] = metadata["DARKTIME"] = visit_info.exposureTime
    if visit_info.date.isValid():
        days = visit_info.date.nsecs() / 86400e9
        time = astropy.time.Time(40587.0, days, format="mjd", scale="tai", precision=9)
        metadata.update({"DATE-AVG": time.isot, "TIMESYS": "TAI"})
    if visit_info.observatory is not None:
        names = ("OBS-LONG", "OBS-LAT", "OBS-ELEV")
        metadata.update(zip(names, visit_info.observatory, strict=True))
    if visit_info.instrumentLabel:
        metadata["INSTRUMENT"] = visit_info.instrumentLabel
    if visit_info.id != 0:
        metadata["IDNUM"] = visit_info.id
    metadata["HAS-SIMULATED-CONTENT"] = visit_info.hasSimulatedContent


class Amplifier:
    """An amplifier with the box of an amplifier of `lsst.images`; the rest is of no interest."""

    def __init__(self, original: Any) -> None:
        self._original = original

    def getName(self) -> str:
        return str(self._original.name)

    def getBBox(self) -> Box2I:
        box: Box2I = self._original.bbox.to_legacy()
        return box

    getRawBBox = getRawDataBBox = getRawSerialOverscanBBox = getRawParallelOverscanBBox = getBBox

    def getRawPrescanBBox(self) -> Box2I:
        return Box2I()

    def getRawXYOffset(self) -> tuple[int, int]:
        return (0, 0)

    def getRawFlipX(self) -> bool:
        return False

    getRawFlipY = getRawFlipX

    def getReadoutCorner(self) -> Any:
        return types.SimpleNamespace(name="LL")

    def getGain(self) -> float:
        calibrations = self._original.nominal_calibrations
        return float("nan") if calibrations is None else float(calibrations.gain)

    def getReadNoise(self) -> float:
        return 5.0

    def getSaturation(self) -> float:
        return 1e5

    getSuspectLevel = getSaturation

    def getLinearityCoeffs(self) -> npt.NDArray[np.float64]:
        return np.zeros(4)

    def getLinearityType(self) -> str:
        return "None"


class Detector:
    """A detector made from a detector of `lsst.images`."""

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

    def getAmplifiers(self) -> list[Amplifier]:
        return [Amplifier(amplifier) for amplifier in self._original.amplifiers]

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
    def __init__(self, projection: Any) -> None:
        self.projection = projection

    def getFrameDict(self) -> Any:
        return self.projection._pixel_to_sky._ast_mapping

    def getFitsApproximation(self) -> None:
        return None


class ExposureInfo:
    """Parts of an exposure, with a getter and a setter for each."""

    def __init__(self, **parts: Any) -> None:
        self.parts = parts

    def __getattr__(self, name: str) -> Any:
        if name.startswith("get"):
            return lambda: self.parts.get(name.removeprefix("get"))
        if name.startswith("set"):
            return lambda value: self.parts.__setitem__(name.removeprefix("set"), value)
        raise AttributeError(name)


class ExposureF:
    """An exposure; a copy shares pixels and metadata unless it is deep."""

    def __init__(self, other: ExposureF | MaskedImage, deep: Any = False) -> None:
        if isinstance(other, MaskedImage):
            self._masked_image, self.info = other, deep
            return
        self._masked_image = other._masked_image.copy() if deep else other._masked_image
        self.info = ExposureInfo(**other.info.parts)
        if deep:
            self.info.setMetadata(other.getMetadata().deepCopy())

    image = property(lambda self: self._masked_image.image)
    mask = property(lambda self: self._masked_image.mask)
    variance = property(lambda self: self._masked_image.variance)
    visitInfo = property(lambda self: self.info.getVisitInfo())

    def __getattr__(self, name: str) -> Any:
        if name.removeprefix("get").removeprefix("set") in (
            "Detector",
            "Metadata",
            "PhotoCalib",
            "Psf",
            "Wcs",
        ):
            return getattr(self.info, name)
        raise AttributeError(f"'lsst.afw.image.ExposureF' object has no attribute {name!r}")

    def getInfo(self) -> ExposureInfo:
        return self.info

    def getMaskedImage(self) -> MaskedImage:
        return self._masked_image

    def getBBox(self) -> Box2I:
        box: Box2I = self._masked_image.image.getBBox()
        return box

    def clone(self) -> ExposureF:
        return ExposureF(self, True)

    def subset(self, bbox: Box2I) -> ExposureF:
        parts = [plane.subset(bbox) for plane in (self.image, self.mask, self.variance)]
        return ExposureF(MaskedImage(*parts), ExposureInfo(**self.info.parts))


class FitsExposureFormatter(FormatterV2):
    """Formatter that keeps exposures in the memory of this process; their files hold a key.

    As in obs_base of 2026-06, no exposure record reaches the conversion to a `lsst.images.VisitImage`, which
    needs one.
    """

    can_read_from_local_file = True
    default_extension = ".fits"
    supported_extensions = frozenset({".fits"})
    supported_write_parameters = frozenset({"recipe"})
    stored: ClassVar[dict[str, ExposureF]] = {}

    @classmethod
    def validate_write_recipes(cls, recipes: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        return recipes

    def write_local_file(self, in_memory_dataset: Any, uri: ResourcePath) -> None:
        key = uuid.uuid4().hex
        self.stored[key] = in_memory_dataset.clone()
        uri.write(key.encode())

    def read_from_local_file(self, path: str, component: str | None = None, expected_size: int = -1) -> Any:
        exposure = self.stored[Path(path).read_text()].clone()
        if self.file_descriptor.readStorageClass.name in ("VisitImage", "DifferenceImage"):
            return VisitImage.from_legacy(exposure)  # type: ignore[call-arg]
        parameters = self.file_descriptor.parameters or {}
        self.file_descriptor.storageClass.validateParameters(parameters)
        if component == "bbox":
            return exposure.getBBox()
        result = exposure if component is None else getattr(exposure, component)
        return result.subset(parameters["bbox"]) if "bbox" in parameters else result


def photo_calib_of(image: VisitImage, mean: float) -> PhotoCalib:
    """Return the calibration of an image, constant if its scaling is unknown or constant."""
    scaling = image.photometric_scaling
    if image.unit.is_equivalent(u.nJy) or not isinstance(scaling, ChebyshevField) or scaling.is_constant:
        return PhotoCalib(mean)
    center = float(scaling(x=image.bbox.x.center, y=image.bbox.y.center))
    return PhotoCalib(
        center, ChebyshevBoundedField(scaling.bounds.bbox.to_legacy(), scaling.coefficients / center)
    )


def exposure_of(
    image: VisitImage,
    *,
    calibration: float = 1.0,
    unit: str | None = "nJy",
    metadata: Mapping[str, Any] | None = None,
    **parts: Any,
) -> ExposureF:
    """Return an exposure with the pixels of a simulated image.

    Parameters
    ----------
    image
        The image; its mask planes get their names in `lsst.afw`. A photometric scaling that varies becomes
        the `PhotoCalib`.
    calibration
        Mean of a constant `PhotoCalib`, nJy per unit.
    unit
        Value of ``BUNIT``; omitted if `None`.
    metadata
        Further metadata.
    **parts
        Components of the exposure to replace, such as ``Psf``.
    """
    old_names = {new: old for old, new in NEW_NAMES.items()}
    mask = Mask(image.bbox.to_legacy())
    for name in image.mask.schema.names:
        plane = old_names.get(name, name)
        mask.addMaskPlane(plane)
        mask.array[image.mask.get(name)] |= np.int32(mask.getPlaneBitMask(plane))
    start = Point(image.bbox.x.start, image.bbox.y.start)
    masked_image = MaskedImage(
        Image(image.image.array, xy0=start), mask=mask, variance=Image(image.variance.array, xy0=start)
    )
    info = image.obs_info
    date = DateTime()
    if info.datetime_begin is not None:
        middle = info.datetime_begin.tai + 0.5 * (info.datetime_end - info.datetime_begin)
        date = DateTime(round((middle.jd1 - 2440587.5) * 86400e9) + round(middle.jd2 * 86400e9))
    seconds = info.exposure_time
    values = {
        "Wcs": SkyWcs(image.sky_projection),
        "Psf": image.psf.to_legacy(),
        "Detector": Detector(image.detector),
        "PhotoCalib": photo_calib_of(image, calibration),
        "Filter": types.SimpleNamespace(bandLabel=image.band, physicalLabel=info.physical_filter),
        "VisitInfo": VisitInfo(
            id=info.exposure_id or 0,
            date=date,
            exposureTime=np.nan if seconds is None else seconds.to_value("s"),
            instrumentLabel=info.instrument,
            observatory=(-70.7, -30.2, 2660.0),
            hasSimulatedContent=bool(info.has_simulated_content),
        ),
        "Metadata": PropertyList({**({} if unit is None else {"BUNIT": unit}), **(metadata or {})}),
        "Id": 1,
        **parts,
    }
    return ExposureF(masked_image, ExposureInfo(**values))


def to_legacy(self: VisitImage, *, copy: bool | None = None, plane_map: Any = None) -> ExposureF:
    """Substitute for `lsst.images.VisitImage.to_legacy`, which needs more of `lsst.afw`."""
    scaling = self.photometric_scaling
    mean = 1.0 if scaling is None else float(scaling(x=self.bbox.x.center, y=self.bbox.y.center))
    calibration = 1.0 if self.unit.is_equivalent(u.nJy) else mean
    exposure = exposure_of(self, calibration=calibration, unit=str(self.unit))
    return exposure.clone() if copy else exposure


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the substitute under the original names."""

    def kind(name: str, *bases: type) -> type:
        return type(name, bases, {})

    modules: dict[str, dict[str, Any]] = {
        "lsst.afw": {},
        "lsst.afw.detection": {"GaussianPsf": GaussianPsf, "Psf": Psf},
        "lsst.afw.image": {
            "Exposure": ExposureF,
            "ExposureF": ExposureF,
            "Image": Image,
            "ImageF": Image,
            "Mask": Mask,
            "MaskX": Mask,
            "MaskedImage": MaskedImage,
            "PhotoCalib": PhotoCalib,
            "VisitInfo": VisitInfo,
            "setVisitInfoMetadata": setVisitInfoMetadata,
        },
        "lsst.afw.math": {
            "ChebyshevBoundedField": ChebyshevBoundedField,
            "ProductBoundedField": kind("ProductBoundedField"),
        },
        "lsst.cell_coadds": {"StitchedPsf": kind("StitchedPsf", Psf)},
        "lsst.daf.base": {"PropertyList": PropertyList},
        "lsst.geom": {"Box2I": Box2I, "IntervalI": IntervalI, "Point2I": Point, "Point2D": Point},
        "lsst.meas.extensions": {},
        "lsst.meas.extensions.piff": {},
        "lsst.meas.extensions.piff.piffPsf": {"PiffPsf": kind("PiffPsf", Psf)},
        "lsst.meas.extensions.psfex": {"PsfexPsf": kind("PsfexPsf", Psf)},
        "lsst.obs": {},
        "lsst.obs.base": {},
        "lsst.obs.base.exposureAssembler": {"ExposureAssembler": StorageClassDelegate},
        "lsst.obs.base.formatters": {},
        "lsst.obs.base.formatters.fitsExposure": {"FitsExposureFormatter": FitsExposureFormatter},
    }
    for name, content in modules.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, child = name.rpartition(".")
        monkeypatch.setattr(lsst if parent == "lsst" else sys.modules[parent], child, module, raising=False)
    monkeypatch.setattr(Mask, "planes", {name: bit for bit, name in enumerate(PLANES)})
    monkeypatch.setattr(FitsExposureFormatter, "stored", {})
    monkeypatch.setattr(VisitImage, "to_legacy", to_legacy)


def exposure_repository(folder: Path, exposure: ExposureF, shape: tuple[int, int]) -> Butler:
    """Create a repository whose `preliminary_visit_image` is an ``ExposureF``.

    Parameters
    ----------
    folder
        Folder of the repository.
    exposure
        The image of its only detector, in the collection ``input``.
    shape
        Shape (ny, nx) of the image.
    """
    butler = open_or_create(folder)
    simulation = Simulation(seed=3, visits=1, detectors=1, shape=shape)
    simulation.register(butler, "input")
    butler.collections.register("input")
    dimensions = butler.dimensions.conform(("instrument", "visit", "detector"))
    butler.registry.registerDatasetType(DatasetType("preliminary_visit_image", dimensions, "ExposureF"))
    (data_id,) = simulation.data_ids()
    butler.put(exposure, "preliminary_visit_image", data_id, run="input")
    return Butler.from_config(folder, writeable=True, collections="input", run="input")
