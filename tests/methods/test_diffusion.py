"""What the diffusion methods share: the U-Net against the official code's recorded outputs, and what is refused."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from afrad_bench.errors import UserError
from afrad_bench.methods.diffusion import require
from afrad_bench.methods.diffusion.checkpoint import load_official, official_names
from afrad_bench.methods.diffusion.config import UnetConfig
from afrad_bench.methods.diffusion.noise import gaussian, generator, steps
from afrad_bench.methods.diffusion.unet import Unet
from tests.adapters import bench_at, ruled_images, ruled_unet

SMALL = UnetConfig(width=32, multipliers=(1, 2, 4), attention=(2,), heads=4)

# The official U-Net of DDAD (and of AnoDDPM, which is the same file), widths 32, 64, 128, attention at 16 px, 4 heads:
# values of two images at every eleventh row and column.
OFFICIAL = """
    -0.21074 0.18876 -0.10274 0.22663 0.37965 0.01995 0.80294 0.09087 -0.69708 -1.52418 0.09328 -0.38566
    0.13211 -1.15854 -0.28393 -0.82822 0.16668 -1.28743 0.25235 0.28412 -0.21506 -0.13889 -0.70923 -0.03514
    -0.40124 -0.12367 0.35541 0.48756 0.09182 -0.26761 0.49238 0.03598 0.64912 0.36652 -0.23846 0.56033
    -0.31254 0.17120 -1.00000 -1.22616 -1.02298 -0.29183 -0.70704 -0.06136 -1.33460 0.40271 0.29791 0.43645
    -0.67760 0.38703 0.26077 0.42853 0.26084 0.76991
"""
SQUARES = [0.244272, 0.273587]


def test_the_network_estimates_what_the_official_code_estimates() -> None:
    net = Unet(SMALL, 32).eval()
    state = {f"module.{name}": tensor for name, tensor in ruled_unet(SMALL).items()}
    load_official(net, SMALL, state, Path("2000"), "the official code")
    with torch.no_grad():
        out = net(2 * torch.from_numpy(ruled_images(2, 32)) - 1, torch.tensor([3, 700]))
    np.testing.assert_allclose(out[:, :, 5::11, 5::11].flatten(), np.array(OFFICIAL.split(), float), atol=2e-5)
    np.testing.assert_allclose(out.square().mean((1, 2, 3)), SQUARES, rtol=1e-4)


@pytest.mark.parametrize("config", [SMALL, UnetConfig(), UnetConfig(multipliers=(1, 1), attention=(1,), blocks=1)])
def test_every_tensor_has_an_official_name(config: UnetConfig) -> None:
    with torch.device("meta"):
        net = Unet(config, 64)
    named = {name.rpartition(".")[0] for name in net.state_dict()}
    split = {name.replace(f".{kind}", ".to_qkv") for name in named for kind in ("to_q", "to_k", "to_v") if kind in name}
    assert {name for name in named if not name.endswith((".to_q", ".to_k", ".to_v"))} | split <= set(
        official_names(config).values()
    )


def test_heads_are_counted_not_their_width() -> None:
    net = Unet(SMALL, 32).eval()
    load_official(net, SMALL, ruled_unet(SMALL), Path("x"), "x")
    other = SMALL.model_copy(update={"heads": 2})
    two = Unet(other, 32).eval()
    two.load_state_dict(net.state_dict())
    noisy, t = torch.from_numpy(ruled_images(1, 32)), torch.tensor([5])
    with torch.no_grad():
        assert (net(noisy, t) - two(noisy, t)).abs().max() > 1e-3


def test_an_untrained_network_estimates_no_noise_and_its_branches_add_nothing() -> None:
    net = Unet(SMALL, 32)
    noisy, t = torch.from_numpy(ruled_images(1, 32)), torch.tensor([5])
    assert not net(noisy, t).any(), "the last convolution starts at zero"
    blocks = [m for name, m in net.named_modules() if name.endswith(("conv2", "to_out.0"))]
    assert len(blocks) > 10
    assert not any(p.any() for block in blocks for p in block.parameters())


def test_without_the_extra_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "afrad_bench.methods.diffusion.find_spec", lambda name: None if name == "diffusers" else found(name)
    )
    with pytest.raises(UserError, match="DDAD needs diffusers, which is not installed") as caught:
        require("DDAD", "torch")
    assert "pip install 'afrad-bench[diffusion]'" in str(caught.value)
    with pytest.raises(UserError, match="needs diffusers and no_such_package, which are not installed"):
        require("DiAD", "no_such_package")


def test_the_check_imports_nothing_heavy() -> None:
    code = (
        "import sys; from afrad_bench.methods.diffusion import require; import afrad_bench.methods.diffusion.config; "
        "require('DDAD'); print(*{'diffusers', 'torch', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 48}, "multiple of 32"),
        ({"multipliers": (1, 0)}, "multipliers must be at least 1"),
        ({"attention": (64,)}, r"no level has the reductions \[64\] of `attention`"),
        ({"heads": 3}, "3 heads do not divide the 128 channels"),
    ],
)
def test_impossible_shapes_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        UnetConfig.model_validate(change)


def test_other_checkpoints_are_refused() -> None:
    net, path = Unet(SMALL, 32), Path("weights.pt")
    with pytest.raises(UserError, match=r"weights.pt: not a checkpoint of X: it holds no state dict"):
        load_official(net, SMALL, {"epoch": 3}, path, "X")
    with pytest.raises(UserError, match=r"the tensor 'strange.weight' is not one of X"):
        load_official(net, SMALL, {"strange.weight": torch.zeros(1)}, path, "X")
    wide = UnetConfig(width=64, multipliers=(1, 2, 4), attention=(2,), heads=4)
    with pytest.raises(UserError, match=r"of another network: .* tensors differ in name or shape, first"):
        load_official(net, SMALL, ruled_unet(wide), path, "X")
    part = dict(list(ruled_unet(SMALL).items())[5:])
    with pytest.raises(UserError, match="5 of 3"):
        load_official(net, SMALL, part, path, "X")


def test_draws_depend_on_seed_and_name_only() -> None:
    def drawn(seed: int, *names: object) -> list[float]:
        source = generator(bench_at(32, seed), *names)
        return [*gaussian((3,), source).tolist(), *steps(4, 1000, source).tolist()]

    torch.manual_seed(5)
    first = drawn(1, "noise", 0)
    torch.manual_seed(6)
    assert drawn(1, "noise", 0) == first
    assert first not in (drawn(2, "noise", 0), drawn(1, "noise", 1))
    assert max(drawn(1, "t")[3:]) < 1000
    assert steps(500, 3, generator(bench_at(32), "t")).unique().tolist() == [0, 1, 2]
