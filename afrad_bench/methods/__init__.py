"""What methods have in common (training loops, frozen features, synthetic anomalies), and AFRAD itself in `afrad/`.

Adapters of published baselines lie in `baselines/`; they use this room too."""
