"""What the data sets share: finding, pairing and checking image files."""
