"""Checkpoints of the official code: one state dict of backbone, transformer and the codebooks of 15 categories."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from afrad_bench.errors import fail
from afrad_bench.methods.official import EASYDICT, in_order, load_into, read
from afrad_bench_baselines.hvq_trans.networks import Network, QuantisedTransformer

CATEGORIES = (
    "bottle",
    "cable",
    "capsule",
    "carpet",
    "grid",
    "hazelnut",
    "leather",
    "metal_nut",
    "pill",
    "screw",
    "tile",
    "toothbrush",
    "transistor",
    "wood",
    "zipper",
)
"""The categories of MVTec AD in the order of the official codebooks and output layers."""

RENAMED = (
    (r"quantize_conv_t\.", "embed."),
    (r"output_proj_list\.", "heads."),
    (r"pos_embed\.row_embed\.weight$", "rows"),
    (r"pos_embed\.col_embed\.weight$", "columns"),
    (r"decoder\.norm\.", "decoder.norm."),
    (r"encoder\.(layers\.\d+)\.self_attn\.", r"encoder.\1.attention.inner."),
    (r"decoder\.(layers\.\d+)\.self_attn\.", r"decoder.\1.to_itself.inner."),
    (r"decoder\.(layers\.\d+)\.multihead_attn\.", r"decoder.\1.to_memory.inner."),
    (r"(encoder|decoder)\.(layers\.\d+)\.linear1\.", r"\1.\2.feed_forward.0."),
    (r"(encoder|decoder)\.(layers\.\d+)\.linear2\.", r"\1.\2.feed_forward.3."),
    (r"(encoder|decoder)\.(layers\.\d+)\.norm1\.", r"\1.\2.norms.0."),
    (r"(encoder|decoder)\.(layers\.\d+)\.norm2\.", r"\1.\2.norms.1."),
    (r"(encoder|decoder)\.(layers\.\d+)\.norm3\.", r"\1.\2.norms.2."),
)
"""Beginnings of official tensor names -> ours, codebooks and backbone apart."""
BUFFERS = {"embed": "codes", "cluster_size": "counts", "embed_avg": "sums"}
NEVER_CALLED = ("input_proj.weight", "input_proj.bias")


def our_name(name: str) -> str:
    """The name in `QuantisedTransformer` of an official tensor. Raises `KeyError` for one of another layout.

    >>> our_name("decoder.layers.2.multihead_attn.in_proj_weight")
    'decoder.layers.2.to_memory.inner.in_proj_weight'
    """
    for official, ours in RENAMED:
        renamed, found = re.subn(f"^{official}", ours, name)
        if found:
            return renamed
    raise KeyError(name)


def ours(official: Mapping[str, Tensor], levels: int) -> dict[str, Tensor]:
    """The tensors of `QuantisedTransformer`; raises `KeyError` for a name that is not in the official layout.

    The official lists of codebooks 1 to 4 belong to the levels from the finest on, the 5th to the top."""
    state: dict[str, Tensor] = {}
    books: dict[str, dict[int, Tensor]] = {}
    for name, tensor in official.items():
        if name in NEVER_CALLED:
            continue
        if found := re.fullmatch(r"quantize_list_(\d+)\.(\d+)\.(embed|cluster_size|embed_avg)", name):
            number = int(found[1])
            place = "top" if number == levels + 1 else f"levels.{number - 1}"
            books.setdefault(f"{place}.{BUFFERS[found[3]]}", {})[int(found[2])] = (
                tensor.T if tensor.ndim > 1 else tensor
            )
        else:
            state[our_name(name)] = tensor.flatten(1) if name == "quantize_conv_t.weight" else tensor
    return state | {name: torch.stack([of[i] for i in sorted(of)]) for name, of in books.items()}


def load_official(network: Network, path: Path) -> None:
    """Load an official checkpoint, its backbone included; raises `UserError` if it is one of another architecture."""
    loaded = read(path, "`start` names a file of the official code, e.g. ckpt.pth.tar", EASYDICT)
    state = loaded.get("state_dict") if isinstance(loaded, dict) else None
    named = {str(name).removeprefix("module."): tensor for name, tensor in (state or {}).items()}
    backbone = {name.removeprefix("enc."): tensor for name, tensor in named.items() if name.startswith("enc.")}
    rest = {name: tensor for name, tensor in named.items() if not name.startswith("enc.")}
    if not backbone or not rest:
        raise fail("not a checkpoint of HVQ-Trans's official code: its `state_dict` holds no `enc`", str(path))
    transformer: QuantisedTransformer = network.transformer
    try:
        renamed = ours(rest, len(transformer.levels))
    except KeyError as error:
        raise fail(f"the tensor {error} is not one of HVQ-Trans's official code", str(path)) from None
    hint = "use the image size that it was trained with (officially 224), its `features` and its `transformer`"
    load_into(transformer, "transformer", renamed, path, hint)
    pairs = in_order(network.extractor.net, backbone)
    if pairs is None:
        raise fail(
            "the checkpoint was trained on another backbone than is configured",
            str(path),
            "the published checkpoint belongs to tf_efficientnet_b4.aa_in1k",
        )
    with torch.no_grad():
        for mine, theirs in pairs:
            mine.copy_(theirs)
