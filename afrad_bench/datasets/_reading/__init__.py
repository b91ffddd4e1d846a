"""Shared by the data sets: finding, pairing and checking image files."""
