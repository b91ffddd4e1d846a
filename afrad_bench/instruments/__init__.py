"""What a measure measures with: arrays or modules go in, numbers come out. Nothing here knows suites or stores."""
