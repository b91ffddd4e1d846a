"""Which packages there are. All else stands in pyproject.toml, which cannot express a search under another name.

On disk the folders are `baselines/` and `suites/`; installed they get names that collide with nobody's."""

from setuptools import find_packages, setup

RENAMED = {"afrad_bench_baselines": "baselines", "afrad_bench_suites": "suites"}

setup(
    packages=[
        *find_packages(include=["afrad_bench", "afrad_bench.*"]),
        *RENAMED,
        *(f"afrad_bench_baselines.{name}" for name in find_packages("baselines")),
    ],
    package_dir=RENAMED,
)
