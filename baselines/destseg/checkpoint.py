"""Checkpoints of the official code: one state dict of teacher, student and segmentation."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from afrad_bench.errors import fail
from afrad_bench.methods.official import load_into, read_state
from afrad_bench_baselines.destseg.networks import Network

PYRAMID = re.compile(r"(?:aspp_feature_extractors\.(\d)(?:\.1)?|aspp_fusion_layer)\.(conv|norm)\.(\w+)")


def our_name(name: str) -> str:
    """The name in `Network` of an official tensor. Raises `KeyError` for a name that is not in the official layout.

    >>> our_name("teacher_net.encoder.layer1.0.conv1.weight")
    'teacher.net.layer1.0.conv1.weight'
    >>> our_name("student_net.decoder_layer3.0.downsample.1.bias")
    'student.decoder.1.0.downsample.1.bias'
    >>> our_name("segmentation_net.head.0.aspp_feature_extractors.0.1.conv.weight")
    'segmentation.head.0.pooled.0.weight'
    >>> our_name("segmentation_net.head.0.aspp_feature_extractors.3.norm.bias")
    'segmentation.head.0.dilated.2.1.bias'
    """
    part, _, rest = name.partition(".")
    inner, _, tail = rest.partition(".")
    if part == "teacher_net" and inner == "encoder":
        return f"teacher.net.{tail}"
    if part == "student_net" and inner == "encoder":
        return f"student.encoder.{tail}"
    if part == "student_net" and (layer := re.fullmatch(r"decoder_layer([1-4])", inner)):
        return f"student.decoder.{4 - int(layer[1])}.{tail}"
    if part == "segmentation_net" and inner == "res":
        return f"segmentation.residual.{tail}"
    if part == "segmentation_net" and inner == "head" and not tail.startswith("0."):
        return f"segmentation.head.{tail}"
    if part == "segmentation_net" and (found := PYRAMID.fullmatch(tail.removeprefix("0."))):
        branch = "fusion" if found[1] is None else f"dilated.{int(found[1]) - 1}" if int(found[1]) else "pooled"
        return f"segmentation.head.0.{branch}.{['conv', 'norm'].index(found[2])}.{found[3]}"
    raise KeyError(name)


def load_official(network: Network, path: Path) -> None:
    """Load student and segmentation; the checkpoint's teacher must be the network's. Raises `UserError` otherwise."""
    hint = "`start` names a file of the official code, e.g. DeSTSeg_MVTec_5000_bottle.pckl"
    state = read_state(path, hint, "DeSTSeg's official code", our_name)
    teacher = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("teacher.")}
    if any(name in state and not torch.equal(state[name], tensor.cpu()) for name, tensor in teacher.items()):
        raise fail(
            "the checkpoint was trained with another teacher",
            str(path),
            "official checkpoints belong to resnet18.tv_in1k (torchvision's V1 weights)",
        )
    hint = "leave `backbone` at ResNet-18 and `segmentation_width` at 256"
    load_into(network, "model", teacher | state, path, hint)
