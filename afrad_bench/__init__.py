"""afrad-bench: benchmark and ablation harness for multi-class unsupervised visual anomaly detection."""

__version__ = "0.1.0"
