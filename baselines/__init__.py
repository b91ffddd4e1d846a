"""Baselines, one module each; suites use the name of the module."""
