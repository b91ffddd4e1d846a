"""Checkpoints of the official code: a state dict of backbone and reconstruction, and the configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from afrad_bench.backbone.extractor import Extractor
from afrad_bench.errors import fail
from afrad_bench.methods.official import EASYDICT, in_order, load_into, read
from afrad_bench_baselines.uniad.reconstruction import Reconstruction

RENAMED = (
    (r"input_proj\.", "embed."),
    (r"output_proj\.", "restore."),
    (r"pos_embed\.row_embed\.weight$", "rows"),
    (r"pos_embed\.col_embed\.weight$", "columns"),
    (r"transformer\.decoder\.norm\.", "decoder.norm."),
    (r"transformer\.encoder\.(layers\.\d+)\.self_attn\.", r"encoder.\1.attention.inner."),
    (r"transformer\.decoder\.(layers\.\d+)\.self_attn\.", r"decoder.\1.to_memory.inner."),
    (r"transformer\.decoder\.(layers\.\d+)\.multihead_attn\.", r"decoder.\1.to_previous.inner."),
    (r"transformer\.decoder\.(layers\.\d+)\.learned_embed\.weight$", r"decoder.\1.query"),
    (r"transformer\.(encoder|decoder)\.(layers\.\d+)\.linear1\.", r"\1.\2.feed_forward.0."),
    (r"transformer\.(encoder|decoder)\.(layers\.\d+)\.linear2\.", r"\1.\2.feed_forward.3."),
    (r"transformer\.(encoder|decoder)\.(layers\.\d+)\.norm1\.", r"\1.\2.norms.0."),
    (r"transformer\.(encoder|decoder)\.(layers\.\d+)\.norm2\.", r"\1.\2.norms.1."),
    (r"transformer\.(encoder|decoder)\.(layers\.\d+)\.norm3\.", r"\1.\2.norms.2."),
)
"""Beginnings of tensor names in the official `reconstruction` -> ours."""


def our_name(name: str) -> str:
    """The name in `Reconstruction` of an official tensor. Raises `KeyError` for one that is not in the official layout.

    >>> our_name("transformer.decoder.layers.2.multihead_attn.in_proj_weight")
    'decoder.layers.2.to_previous.inner.in_proj_weight'
    """
    for official, ours in RENAMED:
        renamed, found = re.subn(f"^{official}", ours, name)
        if found:
            return renamed
    raise KeyError(name)


def load_official(reconstruction: Reconstruction, extractor: Extractor, path: Path) -> tuple[str, ...]:
    """Load an official checkpoint into a reconstruction of the same architecture; raises `UserError` for another.

    Returns notes for the result: whether it was trained on other weights of the backbone."""
    loaded = read(path, "`start` names a file of the official code, e.g. ckpt.pth.tar", EASYDICT)
    state = loaded.get("state_dict") if isinstance(loaded, dict) else None
    inner: dict[str, dict[str, Tensor]] = {"backbone": {}, "reconstruction": {}}
    for name, tensor in state.items() if isinstance(state, dict) else ():
        part, _, rest = str(name).removeprefix("module.").partition(".")
        inner.setdefault(part, {})[rest] = tensor
    if not inner["backbone"] or not inner["reconstruction"]:
        raise fail(
            "not a checkpoint of UniAD's official code: its `state_dict` holds no `backbone` and `reconstruction`",
            str(path),
        )
    renamed = {}
    for name, tensor in inner["reconstruction"].items():
        try:
            renamed[our_name(name)] = tensor
        except KeyError:
            raise fail(
                f"the tensor {name!r} of `reconstruction` is not one of UniAD's official code", str(path)
            ) from None
    hint = "use the image size that it was trained with (officially 224), its `features` and its `transformer`"
    load_into(reconstruction, "reconstruction", renamed, path, hint)
    return _compared(extractor, inner["backbone"], path)


def _compared(extractor: Extractor, official: Mapping[str, Tensor], path: Path) -> tuple[str, ...]:
    """A note if the checkpoint's backbone has other weights. Both store their tensors in the order in which they
    compute; the official one also has later stages."""
    pairs = in_order(extractor.net, official)
    if pairs is None:
        raise fail(
            "the checkpoint was trained on another backbone than is configured",
            str(path),
            "the published checkpoints belong to tf_efficientnet_b4.aa_in1k",
        )
    if all(torch.allclose(a.cpu(), b.to(a.dtype), rtol=1e-4, atol=1e-6) for a, b in pairs):
        return ()
    return ("the official checkpoint was trained on other weights of the backbone",)
