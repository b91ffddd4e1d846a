"""The data types of the harness and the protocols that connect its packages. Standard library only.

Data flows one way: suite -> cells -> fit -> measures -> store -> report. All data classes are frozen. Arrays passed
between packages are numpy arrays, so that no package depends on the device of another.

Shapes: B images in a batch, N images in a set, H x W pixels, always 3 channels (RGB)."""

from typing import TYPE_CHECKING

from afrad_bench.types.cells import Cell, Setting
from afrad_bench.types.data import (
    FEW,
    LEAK,
    NO_ANOMALOUS,
    NO_NORMAL,
    SERIOUS,
    Dataset,
    DatasetModule,
    FileFacts,
    ImageFiles,
    Images,
    MaskFacts,
    Picture,
    Sample,
)
from afrad_bench.types.measures import (
    MEAN,
    SPLITS,
    Curve,
    Example,
    Measurement,
    MeasureModule,
    Metric,
    OperatingPoint,
    Result,
    Role,
    Score,
    Split,
    Subject,
)
from afrad_bench.types.methods import (
    Bench,
    Features,
    HasLoop,
    HasModules,
    HasNetwork,
    HasParts,
    HasState,
    Loop,
    Method,
    MethodModule,
    Prediction,
    Seeds,
    Stopped,
    TrainingRecord,
    Watch,
    unwatched,
)

if TYPE_CHECKING:
    from afrad_bench.types.data import BoolArray as BoolArray
    from afrad_bench.types.data import ByteArray as ByteArray
    from afrad_bench.types.data import FloatArray as FloatArray

__all__ = [
    "FEW",
    "LEAK",
    "MEAN",
    "NO_ANOMALOUS",
    "NO_NORMAL",
    "SERIOUS",
    "SPLITS",
    "Bench",
    "Cell",
    "Curve",
    "Dataset",
    "DatasetModule",
    "Example",
    "Features",
    "FileFacts",
    "HasLoop",
    "HasModules",
    "HasNetwork",
    "HasParts",
    "HasState",
    "ImageFiles",
    "Images",
    "Loop",
    "MaskFacts",
    "MeasureModule",
    "Measurement",
    "Method",
    "MethodModule",
    "Metric",
    "OperatingPoint",
    "Picture",
    "Prediction",
    "Result",
    "Role",
    "Sample",
    "Score",
    "Seeds",
    "Setting",
    "Split",
    "Stopped",
    "Subject",
    "TrainingRecord",
    "Watch",
    "unwatched",
]
