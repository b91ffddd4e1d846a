"""A fitted method outside the harness: as a file, as `AFRAD` in Python, and exported for other runtimes."""
