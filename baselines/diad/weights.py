"""Stable Diffusion 1.5 from a local folder of diffusers or one file, and official checkpoints; never downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_controlnet_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from afrad_bench.errors import fail
from afrad_bench.methods.official import load_into, note, read
from afrad_bench_baselines.diad.networks import Denoising, copy_encoder

LENGTH = 77
PROMPT = (49_406, *[49_407] * (LENGTH - 1))
"""Tokens of the empty prompt: its beginning, then ends up to the tower's length."""
HEAD = 64
"""Width of a head of CLIP's text towers."""
UNET, CONTROL, AUTOENCODER, TEXT = (
    "model.diffusion_model.",
    "control_model.",
    "first_stage_model.",
    "cond_stage_model.transformer.",
)
"""Where the parts lie in a file of latent diffusion, and in the official checkpoints."""
HINT = "the shapes are those of `denoiser` and `autoencoder`, by default Stable Diffusion 1.5's"


def load(denoising: Denoising, autoencoder: AutoencoderKL, path: Path) -> tuple[Tensor, tuple[str, ...]]:
    """Load U-Net, SGN and autoencoder from a file or folder; returns the context (1, 77, D), and notes on the files.

    The SGN is a copy of the U-Net's encoder unless the file has one. Raises `UserError` for what does not fit."""
    unet = denoising.unet
    if path.is_dir():
        for module, part in ((unet, "unet"), (autoencoder, "vae")):
            load_into(module, part, _of_folder(type(module), path / part).state_dict(), path / part, HINT)
        copy_encoder(denoising)
        tower = _of_folder(CLIPTextModel, path / "text_encoder")
        files = [file for part in ("text_encoder", "unet", "vae") for file in _read_by_default(path / part)]
        return empty_prompt(tower), tuple(
            note(file, f"Stable Diffusion's {file.parent.name} of the file") for file in files
        )
    state = tensors(path)
    load_into(unet, "U-Net", convert_ldm_unet_checkpoint(_part(state, UNET, path), _config(unet)), path, HINT)
    load_autoencoder(autoencoder, _part(state, AUTOENCODER, path), path)
    if any(name.startswith(CONTROL) for name in state):
        _load_guidance(denoising, _part(state, CONTROL, path), path)
    else:
        copy_encoder(denoising)
    return empty_prompt(_tower(_part(state, TEXT, path), path)), (note(path, "weights of the file"),)


def load_autoencoder(autoencoder: AutoencoderKL, state: Mapping[str, Tensor], path: Path) -> None:
    """Load tensors with the names of latent diffusion, or with diffusers', into the autoencoder."""
    own = {name.removeprefix(AUTOENCODER): tensor for name, tensor in state.items() if not name.startswith("loss.")}
    if "quant_conv.weight" in own and not any(".down_blocks." in name for name in own):
        own = convert_ldm_vae_checkpoint(own, _config(autoencoder))
    load_into(autoencoder, "autoencoder", own, path, HINT)


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, which may be a checkpoint of Lightning. Raises `UserError` for anything else."""
    found = read(path, HINT)
    inner = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(inner, dict) or not all(isinstance(value, Tensor) for value in inner.values()):
        raise fail("holds no state dict (names -> tensors)", str(path), "save the model's state_dict() alone")
    return inner


def empty_prompt(tower: CLIPTextModel) -> Tensor:
    """(1, 77, D): the text tower's vectors of the empty prompt, after its last norm."""
    with torch.no_grad():
        context: Tensor = tower.eval()(torch.tensor([PROMPT])).last_hidden_state
    return context


def _of_folder(kind: type[Any], folder: Path) -> Any:
    arguments = {"low_cpu_mem_usage": False} if kind in (UNet2DConditionModel, AutoencoderKL) else {}
    try:
        return kind.from_pretrained(folder, local_files_only=True, torch_dtype=torch.float32, **arguments)
    except (OSError, ValueError, RuntimeError) as error:
        raise fail(f"not a folder that {kind.__name__} can read: {error}", str(folder), HINT) from error


def _read_by_default(folder: Path) -> list[Path]:
    """The files that `from_pretrained` reads: no variants such as fp16, and safetensors before pickles."""
    plain = sorted(file for file in folder.iterdir() if "." not in file.stem)
    return [file for file in plain if file.suffix == ".safetensors"] or [
        file for file in plain if file.suffix == ".bin"
    ]


def _part(state: Mapping[str, Tensor], prefix: str, path: Path) -> dict[str, Tensor]:
    found = {name: tensor for name, tensor in state.items() if name.startswith(prefix)}
    if not found:
        raise fail(f"holds no tensors {prefix}*, so it is not Stable Diffusion as one file", str(path), HINT)
    return found


def _config(module: nn.Module) -> dict[str, Any]:
    return dict(module.config)  # type: ignore[arg-type, call-overload]


def _load_guidance(denoising: Denoising, state: Mapping[str, Tensor], path: Path) -> None:
    """An official SGN: its ControlNet, and `down21` (from the second of the finer maps to the first of the last)."""
    guidance = denoising.guidance
    own = {name.removeprefix(CONTROL): tensor for name, tensor in state.items()}
    fused = {name: tensor for name, tensor in own.items() if name.startswith("down")}
    control = convert_controlnet_checkpoint(
        {name: tensor for name, tensor in own.items() if name not in fused}, _config(guidance.control)
    )
    load_into(guidance.control, "SGN", control, path, HINT)
    names = {
        f"down{j + 1}{k + 1}.0.weight": f"convs.{k}.{j}.weight"
        for j in range(guidance.maps)
        for k in range(guidance.maps)
    }
    load_into(guidance.fusion, "SFF", {names.get(name, name): tensor for name, tensor in fused.items()}, path, HINT)
    guidance.fusion.looked_at()


def _tower(state: Mapping[str, Tensor], path: Path) -> CLIPTextModel:
    """CLIP's text tower with the tensors of a single file; its shape is read from them."""
    own = {name.removeprefix(TEXT).removeprefix("text_model."): tensor for name, tensor in state.items()}
    own.pop("embeddings.position_ids", None)
    try:
        vocabulary, width = own["embeddings.token_embedding.weight"].shape
        hidden = len(own["encoder.layers.0.mlp.fc1.bias"])
    except KeyError as error:
        raise fail(f"its text tower lacks {error}", str(path), HINT) from error
    layers = {name.split(".")[2] for name in own if name.startswith("encoder.layers.")}
    shape = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=hidden,
        num_hidden_layers=len(layers),
        num_attention_heads=max(1, width // HEAD),
        max_position_embeddings=LENGTH,
    )
    tower = CLIPTextModel(shape)
    inner = getattr(tower, "text_model", tower)  # transformers 4 wraps the tower once more
    load_into(inner, "text tower", own, path, HINT)
    return tower
