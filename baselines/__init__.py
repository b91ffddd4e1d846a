"""Baseline adapters: every module or folder here is one method, and its name is the name suites use."""
