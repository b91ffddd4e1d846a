"""Tools of the measures: arrays or modules go in, numbers come out. Nothing here depends on suites or stores."""
