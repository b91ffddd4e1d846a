"""What methods share, and AFRAD itself (training loops, frozen features, synthetic anomalies), and AFRAD itself in `afrad/`.

Adapters of published baselines are in `baselines/`; they use this package too."""
