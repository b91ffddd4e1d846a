"""A decoder of another package: it is exported with the model, and what cannot be one is refused with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from afrad_bench import AFRAD, registry
from afrad_bench.deploy import export
from afrad_bench.errors import UserError
from tests.conftest import DrawnPicture
from tests.deploy.test_export import SIDE, TINY, agrees, as_input
from tests.docs.test_contributing import installed

IMAGES = [DrawnPicture(seed, side=SIDE).read() for seed in range(5)]
NAMES = ("items", "keys", "forward", "training", "max-gate")


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """CONTRIBUTING.md's decoder, once more under names that none can have, and a module that is no decoder."""
    site = installed(tmp_path_factory.mktemp("site"))
    (site / "my_package" / "empty.py").write_text('"""Nothing."""\nVERSION = "1"\n')
    doors = [*(f"{name} = my_package.max_gate" for name in NAMES), "empty = my_package.empty"]
    points = site / "my_package-1.dist-info" / "entry_points.txt"
    group = "[afrad_bench.afrad_decoders]\n"
    points.write_text(points.read_text().replace(group, group + "\n".join(doors) + "\n"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        registry._entries.cache_clear()
        yield
    registry._entries.cache_clear()


@pytest.fixture(scope="module")
def model() -> AFRAD:
    return AFRAD(SIDE, **TINY, decoders=["stage_adaptive", "max_gate"]).fit(IMAGES)


def test_it_is_part_of_an_onnx_file(model: AFRAD, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    kept = model.save(tmp_path / "m.safetensors")
    export.export(kept, tmp_path / "m.onnx")
    session = runtime.InferenceSession(str(tmp_path / "m.onnx"))
    for count in (1, 5):
        agrees(session.run(None, {"images": as_input(IMAGES[:count])}), model, IMAGES[:count])


@pytest.mark.skipif(not hasattr(torch.jit, "trace"), reason="this torch has no TorchScript any more")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_it_is_part_of_a_torchscript_file(model: AFRAD, tmp_path: Path) -> None:
    kept = model.save(tmp_path / "m.safetensors")
    export.export(kept, tmp_path / "m.ts")
    with torch.no_grad():
        agrees(torch.jit.load(str(tmp_path / "m.ts"))(torch.from_numpy(as_input(IMAGES))), model, IMAGES)
    other = AFRAD(SIDE, **TINY, decoders=["stage_adaptive"]).fit(IMAGES)
    assert not np.allclose(other.predict(IMAGES).pred_score, model.predict(IMAGES).pred_score)  # it takes part


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_no_part_of_a_network_can_have_is_refused(name: str) -> None:
    told = "letters, digits and _" if name == "max-gate" else "torch's ModuleDict has this one"
    with pytest.raises(UserError) as caught:
        AFRAD(SIDE, **TINY, decoders=[name])
    assert f"the decoder '{name}' needs a" in str(caught.value)
    assert told in str(caught.value)


def test_a_module_without_build_is_no_decoder() -> None:
    with pytest.raises(UserError, match=r"decoder empty is no decoder: my_package\.empty has no build"):
        AFRAD(SIDE, **TINY, decoders=["empty"])
