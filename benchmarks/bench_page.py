"""How long a large report takes: to build and render, to open in a browser, and to sort.

    python benchmarks/bench_page.py [--rounds 5]

50 methods, 27 categories of 64 scored images, 7 metrics and 5 seeds. Opening ends when the page's script has run;
sorting is a click on a column, until the browser has laid out the table anew. Needs chromium."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from _record import record

ROOT = Path(__file__).parent.parent

SORTED = """(() => {
  const began = performance.now();
  document.querySelectorAll("%s .sort")[%d].click();
  document.querySelector("%s").getBoundingClientRect();
  return performance.now() - began;
})()"""


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from afrad_bench.report import to_html
    from tests.browser.chrome import browser
    from tests.report.large import large_report

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = range(parser.parse_args().rounds)
    began = time.perf_counter()
    report = large_report(images=64)
    built = time.perf_counter()
    page = to_html(report)
    rendered = time.perf_counter()
    rows = [
        {"what": "made-up runs and the report of them", "value": round(built - began, 2), "unit": "s"},
        {"what": "the page, its figure drawn", "value": round(rendered - built, 2), "unit": "s", "target": 10},
        {"what": "size of the page", "value": round(len(page.encode()) / 1e6, 2), "unit": "MB", "target": 10},
    ]
    with tempfile.TemporaryDirectory() as scratch, browser(Path(scratch) / "profile") as tab:
        path = Path(scratch) / "report.html"
        path.write_text(page, encoding="utf-8")
        tab.window(1440, 900)
        opened = []
        for _ in rounds:
            tab.open(path)
            opened.append(tab.run("performance.getEntriesByType('navigation')[0].loadEventEnd"))
        rows.append({"what": "opened in the browser", "value": round(median(opened)), "unit": "ms"})
        for what, table in (
            ("results, 50 lines", "#results-1"),
            ("one metric by category, 50 columns", "#categories-1"),
        ):
            times = [tab.run(SORTED % (table, column, table)) for column in (2, 3) for _ in rounds]
            rows.append({"what": f"sorted: {what}", "value": round(median(times), 1), "unit": "ms", "target": 100})
    record("bench_page", "A large report: 50 methods, 27 categories, 7 metrics, 5 seeds", rows)


if __name__ == "__main__":
    main()
