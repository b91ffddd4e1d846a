"""afrad-bench: benchmark and ablation harness for multi-class unsupervised visual anomaly detection.

`from afrad_bench import AFRAD` gives the model for use outside the harness; it is imported when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from afrad_bench.deploy.portable import AFRAD

__version__ = "0.1.0"
__all__ = ["AFRAD", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "AFRAD":
        from importlib import import_module

        return import_module("afrad_bench.deploy.portable").AFRAD
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "AFRAD"])
