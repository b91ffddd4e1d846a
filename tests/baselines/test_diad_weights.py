"""DiAD's files: Stable Diffusion as a folder or one file, autoencoders, LPIPS; what fits and what is refused.

Checkpoints of the official code are loaded in `test_diad.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from afrad_bench.errors import UserError
from afrad_bench.testing import small_images
from afrad_bench_baselines.diad import ENVIRONMENT, LPIPS_FILES, Config, build, must_be_here
from afrad_bench_baselines.diad.networks import autoencoder_of, unet_of
from afrad_bench_baselines.diad.perceptual import Lpips
from afrad_bench_baselines.diad.weights import TEXT, empty_prompt
from tests.adapters import bench_at, ruled32, ruled_images
from tests.baselines.test_diad import OFFICIAL, QUICK, SHAPE, made

UNTRAINED = {"training": {"epochs": 0, "autoencoder": {"epochs": 0}}}


def tower(width: int) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    shape = CLIPTextConfig(hidden_size=width, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1)
    return CLIPTextModel(shape).eval()


@pytest.fixture(scope="module")
def stable_diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the layout of diffusers with networks of the shape of `QUICK`."""
    folder = tmp_path_factory.mktemp("stable-diffusion")
    config = Config.model_validate(QUICK)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        unet_of(config.denoiser, config.autoencoder.channels).save_pretrained(folder / "unet")
        autoencoder_of(config.autoencoder).save_pretrained(folder / "vae")
        tower(config.denoiser.context).save_pretrained(folder / "text_encoder")
    return folder


def test_a_folder_of_diffusers_is_loaded(stable_diffusion: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    monkeypatch.setenv(ENVIRONMENT, str(stable_diffusion))
    (stable_diffusion / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"of a variant, not read")
    for weights in ("published", f"folder:{stable_diffusion}"):
        must_be_here(Config.model_validate({**QUICK, "weights": weights}))
        method = made(weights=weights, **UNTRAINED)
        net = method.net
        wanted = UNet2DConditionModel.from_pretrained(stable_diffusion / "unet", low_cpu_mem_usage=False).state_dict()
        for name, tensor in net.denoising.unet.state_dict().items():
            assert torch.equal(tensor, wanted[name])
        copied = net.denoising.guidance.control.state_dict()
        shared = copied.keys() & wanted.keys()
        assert {name.partition(".")[0] for name in shared} == {"conv_in", "time_embedding", "down_blocks", "mid_block"}
        assert all(torch.equal(copied[name], wanted[name]) for name in shared)
        context = empty_prompt(CLIPTextModel.from_pretrained(stable_diffusion / "text_encoder"))
        torch.testing.assert_close(net.context, context)
        notes = method.fit(small_images(2, 64, 0)).notes
        assert [note.partition(" of the file")[0] for note in notes] == [
            f"Stable Diffusion's {part}" for part in ("text_encoder", "unet", "vae")
        ]
        assert not any("random" in note for note in notes)


def test_one_file_without_an_sgn_gives_it_the_encoder_of_the_unet(tmp_path: Path) -> None:
    """As v1-5-pruned: latent diffusion's names, an averaged copy that is not used, a schedule, positions."""
    state = {name: tensor for name, tensor in official_tensors().items() if not name.startswith("control_model.")}
    state["model_ema.diffusion_modeloutbias"] = torch.zeros(1)
    state["alphas_cumprod"] = torch.zeros(1000)
    state[f"{TEXT}text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(state, tmp_path / "v1-5-pruned.safetensors")
    changes = {**SHAPE, "backbone": QUICK["backbone"], "weights": f"file:{tmp_path / 'v1-5-pruned.safetensors'}"}
    method = build(Config.model_validate(changes), bench_at(128))
    denoising = method.net.denoising
    wanted = state["model.diffusion_model.middle_block.0.in_layers.2.weight"]
    for network in (denoising.unet, denoising.guidance.control):
        assert torch.equal(network.mid_block.resnets[0].conv1.weight, wanted)
    assert denoising.guidance.fusion.inert
    assert method.notes[0].startswith("weights of the file v1-5-pruned.safetensors, sha256 ")


def official_tensors() -> dict[str, torch.Tensor]:
    import json
    import zlib

    layout = json.loads(zlib.decompress(OFFICIAL["layout"].tobytes()))
    return {name: ruled32(name, tuple(shape)) for name, shape in layout}


def test_a_fusion_that_is_zero_in_the_file_is_named(tmp_path: Path) -> None:
    state = official_tensors()
    state.update({name: torch.zeros_like(t) for name, t in state.items() if name.startswith("control_model.down")})
    torch.save(state, tmp_path / "diad.ckpt")
    params = {**SHAPE, "backbone": QUICK["backbone"], "weights": f"file:{tmp_path / 'diad.ckpt'}", "sff": "paper"}
    method = build(Config.model_validate(params), bench_at(128))
    assert method.notes[-1] == "the fusion is zero in the file of weights, and so cannot learn"


@pytest.mark.parametrize("names", ["latent diffusion", "diffusers"])
def test_an_autoencoder_of_its_own_is_loaded(tmp_path: Path, names: str) -> None:
    file = tmp_path / "autoencoder.ckpt"
    own = {"autoencoder": {**SHAPE["autoencoder"], "weights": f"file:{file}"}}
    prefix = "first_stage_model."
    if names == "diffusers":
        config = Config.model_validate(SHAPE).autoencoder
        state = {
            name: ruled32(name, tuple(tensor.shape)) for name, tensor in autoencoder_of(config).state_dict().items()
        }
        wanted = state["decoder.conv_out.weight"]
        torch.save(state, file)
    else:
        state = {name.removeprefix(prefix): t for name, t in official_tensors().items() if name.startswith(prefix)}
        wanted = state["decoder.conv_out.weight"]
        torch.save({"state_dict": {**state, "loss.logvar": torch.zeros(())}}, file)
    params = {**SHAPE, **own, "backbone": QUICK["backbone"], "weights": "random"}
    method = build(Config.model_validate(params), bench_at(128))
    assert torch.equal(method.net.autoencoder.decoder.conv_out.weight, wanted)
    assert "autoencoder of the file autoencoder.ckpt, sha256 " in method.notes[1]


def test_random_weights_are_named_and_follow_from_the_seed() -> None:
    one, two, other = made(), made(), made(bench=bench_at(64, seed=9))
    assert one.notes == ("random weights: Stable Diffusion was never trained, and the prompt's vectors are random",)
    for name, tensor in one.state().items():
        assert torch.equal(tensor, two.state()[name])
    assert not torch.equal(one.net.context, other.net.context)
    assert not torch.equal(one.net.noise, other.net.noise)


# ------------------------------------------------------------------------------------------------------------ LPIPS

DISTANCES = [0.13976065, 0.10864067]
"""Of the package lpips 0.1.4, net vgg, on the weights and images below."""


def lpips_folder(folder: Path) -> Path:
    with torch.device("meta"):
        trunk = {name: tuple(tensor.shape) for name, tensor in Lpips(None).state_dict().items() if "features" in name}
    state = {name: ruled32(name, shape) for name, shape in trunk.items()}
    torch.save({**state, "classifier.0.weight": torch.zeros(2)}, folder / LPIPS_FILES[0])
    names = [f"lin{i}.model.1.weight" for i in range(5)]
    widths = (64, 128, 256, 512, 512)
    heads = {name: ruled32(name, (1, width, 1, 1)).abs() for name, width in zip(names, widths, strict=True)}
    torch.save(heads, folder / LPIPS_FILES[1])
    return folder


def test_perceptual_distances_are_those_of_lpips(tmp_path: Path) -> None:
    images = 2 * torch.from_numpy(ruled_images(4, 64)) - 1
    folder = lpips_folder(tmp_path)
    np.testing.assert_allclose(Lpips(folder)(images[:2], images[2:]), DISTANCES, rtol=1e-5)
    losses = []
    for perceptual in (f"folder:{folder}", "none"):
        stage_a = {**QUICK["training"]["autoencoder"], "perceptual": perceptual}
        record = made(training={"epochs": 0, "autoencoder": stage_a}).fit(small_images(2, 64, 0))
        losses.append(float(record.notes[1].partition("loss ")[2].partition(" ")[0]))
        assert ("stage A without LPIPS" in record.notes) == (perceptual == "none")
    assert losses[0] > losses[1]


# --------------------------------------------------------------------------------------------------- what is refused


def test_missing_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    with pytest.raises(UserError, match="DiAD's weights are not on this machine") as caught:
        must_be_here(Config())
    assert f"set {ENVIRONMENT}" in str(caught.value)
    assert "weights: random" in str(caught.value)
    random = {"weights": "random"}
    with pytest.raises(UserError, match=r"LPIPS is not on this machine"):
        must_be_here(Config.model_validate(random))
    must_be_here(Config.model_validate({**random, "training": {"autoencoder": {"perceptual": "none"}}}))
    must_be_here(Config.model_validate({**random, **UNTRAINED}))
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    with pytest.raises(UserError, match=r"lacks unet/config.json"):
        must_be_here(Config())
    with pytest.raises(UserError, match=r"lacks vgg16-397923af.pth and vgg.pth"):
        must_be_here(Config.model_validate(random))
    for weights, wanted in (("file:none.ckpt", "no such file of weights"), ("folder:none", "lacks unet/config.json")):
        with pytest.raises(UserError, match=wanted):
            must_be_here(Config.model_validate({"weights": weights}))
    with pytest.raises(UserError, match="no such autoencoder"):
        must_be_here(Config.model_validate({**random, "autoencoder": {"weights": "file:none.ckpt"}}))


def test_strange_files_are_refused(stable_diffusion: Path, tmp_path: Path) -> None:
    wider = {**QUICK, "denoiser": {**QUICK["denoiser"], "widths": [16, 64]}, "weights": f"folder:{stable_diffusion}"}
    with pytest.raises(UserError, match=r"of another unet: .* tensors differ"):
        build(Config.model_validate(wider), bench_at(64))
    file = tmp_path / "some.safetensors"
    save_file({"fc.weight": torch.zeros(1)}, file)
    with pytest.raises(UserError, match=r"holds no tensors model.diffusion_model"):
        made(weights=f"file:{file}")
    file.write_bytes(b"no tensors")
    with pytest.raises(UserError, match="not a safetensors file"):
        made(weights=f"file:{file}")
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(UserError, match="holds no state dict"):
        made(weights=f"file:{tmp_path / 'list.ckpt'}")
    (tmp_path / LPIPS_FILES[0]).write_bytes(b"")
    (tmp_path / LPIPS_FILES[1]).write_bytes(b"")
    with pytest.raises(UserError, match="not a checkpoint that can be loaded safely"):
        Lpips(tmp_path)
    lpips_folder(tmp_path)
    torch.save({"lin9.model.1.weight": torch.zeros(1)}, tmp_path / LPIPS_FILES[1])
    with pytest.raises(UserError, match=r"'lin9.model.1.weight' is not one of LPIPS"):
        Lpips(tmp_path)


def test_a_folder_that_diffusers_cannot_read_is_refused(stable_diffusion: Path, tmp_path: Path) -> None:
    for part in ("unet", "vae", "text_encoder"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text((stable_diffusion / part / "config.json").read_text())
    with pytest.raises(UserError, match="not a folder that UNet2DConditionModel can read"):
        made(weights=f"folder:{tmp_path}")
