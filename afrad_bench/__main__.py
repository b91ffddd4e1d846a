"""`python -m afrad_bench` is `afrad-bench`."""

from __future__ import annotations

from afrad_bench.cli import main

if __name__ == "__main__":
    main()
