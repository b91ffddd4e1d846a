"""What methods share, and AFRAD itself: training loops, frozen features, synthetic anomalies; `afrad/` is the model.

Adapters of published baselines are in `baselines/`; they use this package too."""
