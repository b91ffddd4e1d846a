"""Formulas for the work of operators in multiply-accumulates (MAC), and the operators that need no formula.

fvcore counts what `torch.jit` traces, `FlopCounterMode` what the dispatcher runs; both lack formulas for products that
methods of this field use. The formulas here are for both. A `Formula` gets the shapes of the operator's arguments (None
for an argument that is not a tensor) and of its first output."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch

Shape = Sequence[int]
Formula = Callable[[Sequence[Any], Shape], int]


def attention(shapes: Sequence[Any], out: Shape) -> int:
    """softmax(Q K^T) V for Q (..., Lq, D), K (..., Lk, D), V (..., Lk, Dv): Lq * Lk * (D + Dv) per head.

    Counted as dense for every mask: a causal kernel may do half of this work."""
    query, key, value = shapes[:3]
    return math.prod(out[:-1]) * key[-2] * (query[-1] + value[-1])


def multi_head_attention(shapes: Sequence[Any], out: Shape) -> int:
    """Fused self-attention of tokens (B, L, E) with its projections; the arguments 5 and 7 are their weights."""
    batch, length, width = shapes[0]
    return _tokens_through(shapes[0], shapes[5], shapes[7]) + 2 * batch * length * length * width


def encoder_layer(shapes: Sequence[Any], out: Shape) -> int:
    """Fused transformer encoder layer: projections (arguments 3, 5), attention, feed-forward (14, 16); no norms."""
    batch, length, width = shapes[0]
    weights = (shapes[3], shapes[5], shapes[14], shapes[16])
    return _tokens_through(shapes[0], *weights) + 2 * batch * length * length * width


def _tokens_through(tokens: Shape, *weights: Shape) -> int:
    return math.prod(tokens[:-1]) * sum(math.prod(weight) for weight in weights)


def distances(shapes: Sequence[Any], out: Shape) -> int:
    """All pairs of (..., P, D) and (..., R, D): P * R * D, the product in |a|² + |b|² - 2ab."""
    return math.prod(out) * int(shapes[0][-1])


def search(shapes: Sequence[Any], out: Shape) -> int:
    """Each of (Q, D) against all of (M, D): Q * M * D."""
    return math.prod(shapes[0]) * int(shapes[1][0])


def convolution(shapes: Sequence[Any], out: Shape) -> int:
    """Output values times weights per output channel, for weights (out, in / groups, ...), at argument 1."""
    return math.prod(out) * math.prod(shapes[1][1:])


def deformable_convolution(shapes: Sequence[Any], out: Shape) -> int:
    """The convolution, plus four per sampled input value: one sample per input channel, tap and position."""
    (batch, channels, _, _), weight = shapes[:2]
    taps = math.prod(weight[2:])
    return convolution(shapes, out) + 4 * batch * channels * taps * math.prod(out[2:])


def product(left: int) -> Formula:
    """Matrix product whose left factor (..., K) is the argument `left`: output values times K, broadcast or not."""

    def formula(shapes: Sequence[Any], out: Shape) -> int:
        return math.prod(out) * int(shapes[left][-1])

    return formula


def summed_product(shapes: Sequence[Any], out: Shape) -> int:
    """`addbmm`: products of (B, N, K) and (B, K, M), summed over B."""
    return math.prod(shapes[1]) * int(shapes[2][-1])


def tensordot(shapes: Sequence[Any], out: Shape) -> int:
    """Equivalent to a product of (M, K) and (K, N): sqrt(MK * KN * MN) = MKN."""
    return math.isqrt(math.prod(shapes[0]) * math.prod(shapes[1]) * math.prod(out))


def normalisation(affine: int) -> Formula:
    """fvcore's rule: 5 per value, 4 without the weight at argument `affine`. For any number of dimensions."""

    def formula(shapes: Sequence[Any], out: Shape) -> int:
        return math.prod(out) * (4 if shapes[affine] is None else 5)

    return formula


def per_output(weight: int) -> Formula:
    """Interpolation: `weight` taps per output value, fvcore's rule."""

    def formula(shapes: Sequence[Any], out: Shape) -> int:
        return math.prod(out) * weight

    return formula


def einsum(equation: str, shapes: Sequence[Shape], path: Sequence[int] | None = None) -> int:
    """Products of `torch.einsum` in its order of contraction: the given path (pairs of positions, results appended),
    else from left to right. A step that sums over no shared index is element-wise and counts as zero, as in all
    formulas."""
    terms, result, size = _einsum_terms(equation, shapes)
    steps = list(path or [])
    macs = 0
    while len(terms) > 1:
        i, j = sorted((steps.pop(0), steps.pop(0))) if steps else (0, 1)
        second, first = terms.pop(j), terms.pop(i)
        needed = result.union(*terms)
        if (first & second) - needed:
            macs += math.prod(size[s] for s in first | second if s in needed or s in first & second)
        terms.insert(len(terms) if path else 0, (first | second) & needed)
    return macs


Symbol = str | int


def _einsum_terms(equation: str, shapes: Sequence[Shape]) -> tuple[list[set[Symbol]], set[Symbol], dict[Symbol, int]]:
    """The indices of each operand and of the result, and their sizes; the dimensions of an ellipsis are -1, -2, ..."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms: list[set[Symbol]] = []
    size: dict[Symbol, int] = {}
    ellipsis: set[Symbol] = set()
    for term, shape in zip(left.split(","), shapes, strict=True):
        before, dots, after = term.partition("...")
        hidden = [-n for n in range(len(shape) - len(before) - len(after), 0, -1)] if dots else []
        ellipsis.update(hidden)
        symbols: list[Symbol] = [*before, *hidden, *after]
        for symbol, length in zip(symbols, shape, strict=True):
            size[symbol] = max(length, size.get(symbol, 1))
        terms.append(set(symbols))
    if arrow:
        result: set[Symbol] = set(right.replace(".", ""))
        return terms, result | ellipsis if "..." in right else result, size
    once: set[Symbol] = {letter for letter in left if letter.isalpha() and left.count(letter) == 1}
    return terms, once | ellipsis, size


TRACED: Mapping[str, Formula] = {
    "aten::scaled_dot_product_attention": attention,
    "aten::_native_multi_head_attention": multi_head_attention,
    "aten::_transformer_encoder_layer_fwd": encoder_layer,
    "aten::cdist": distances,
    "afrad_bench::faiss_nearest": search,
    "aten::_convolution_mode": convolution,
    "torchvision::deform_conv2d": deformable_convolution,
    "aten::matmul": product(0),
    "aten::mv": product(0),
    "aten::dot": product(0),
    "aten::inner": product(0),
    "aten::linalg_vecdot": product(0),
    "aten::addmv": product(1),
    "aten::baddbmm": product(1),
    "aten::addbmm": summed_product,
    "aten::tensordot": tensordot,
    "aten::layer_norm": normalisation(2),
    "aten::group_norm": normalisation(2),
    "aten::instance_norm": normalisation(1),
    "aten::upsample_bicubic2d": per_output(16),
    "aten::upsample_trilinear3d": per_output(8),
    "aten::upsample_linear1d": per_output(2),
    "aten::upsample_nearest1d": per_output(1),
    "aten::upsample_nearest3d": per_output(1),
    "aten::_upsample_nearest_exact1d": per_output(1),
    "aten::_upsample_nearest_exact2d": per_output(1),
    "aten::_upsample_nearest_exact3d": per_output(1),
}
"""Formulas that fvcore lacks or has wrong (a broadcast matmul is counted once, a matrix times a vector fails)."""

EXECUTED: Mapping[str, Formula] = {
    "aten::_scaled_dot_product_flash_attention_for_cpu": attention,
    "aten::_scaled_dot_product_attention_math_for_mps": attention,
    "aten::_scaled_dot_product_fused_attention_overrideable": attention,
    "aten::_native_multi_head_attention": multi_head_attention,
    "aten::_transformer_encoder_layer_fwd": encoder_layer,
    "aten::_cdist_forward": distances,
    "afrad_bench::faiss_nearest": search,
    "aten::_euclidean_dist": distances,
    "aten::mv": product(0),
    "aten::dot": product(0),
    "aten::addmv": product(1),
    "aten::addbmm": summed_product,
    "torchvision::deform_conv2d": deformable_convolution,
}
"""Formulas that `FlopCounterMode` lacks, by the names that reach the dispatcher."""

_NOT_PRODUCTS = """
    batch_norm layer_norm group_norm instance_norm adaptive_avg_pool2d grid_sampler
    upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d
    upsample_trilinear3d _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d
"""
NOT_PRODUCTS = frozenset(_NOT_PRODUCTS.split())
"""Operators that fvcore counts and `FlopCounterMode` does not; left out when the two are compared."""

_CHEAP_BY_NAME = """
    all amax amin aminmax any argmax argmin count_nonzero frobenius_norm linalg_norm linalg_vector_norm logsumexp max
    mean median min mode nanmean nanmedian nansum norm prod std std_mean sum sum_to_size var var_mean
    argsort bincount bucketize histc kthvalue msort nonzero nonzero_numpy nanquantile quantile searchsorted sort topk
    unique_consecutive unique_dim _unique _unique2
    cummax cummin cumprod cumsum diff logcumsumexp
    softmax log_softmax _softmax _log_softmax _safe_softmax
    avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices
    max_unpool2d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d
    adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
    batch_norm group_norm instance_norm layer_norm rms_norm native_batch_norm native_group_norm native_layer_norm
    _native_batch_norm_legit _native_batch_norm_legit_no_training _batch_norm_with_update _batch_norm_no_update
    _fused_rms_norm cudnn_batch_norm miopen_batch_norm _weight_norm _weight_norm_interface cosine_similarity
    pairwise_distance binary_cross_entropy l1_loss mse_loss smooth_l1_loss huber_loss
    affine_grid_generator grid_sampler grid_sampler_2d grid_sampler_3d upsample_bilinear2d upsample_bicubic2d
    upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d
    _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d
    _upsample_nearest_exact3d
    alpha_dropout dropout feature_dropout feature_alpha_dropout native_dropout celu elu gelu glu hardshrink hardsigmoid
    hardswish hardtanh leaky_relu log_sigmoid mish prelu _prelu_kernel relu relu6 rrelu selu silu softplus softshrink
    softsign tanhshrink threshold cross linalg_cross float_power ger lerp outer rsub square true_divide where clip
    bernoulli normal multinomial rand randint randn randperm rand_like randn_like
    arange empty empty_like empty_strided eye full full_like lift_fresh_copy linspace logspace new_empty
    new_empty_strided new_full new_ones new_zeros ones ones_like scalar_tensor tril_indices triu_indices zeros
    zeros_like _to_copy cat clone col2im concat constant_pad_nd contiguous copy diag diag_embed dstack embedding flip
    fliplr flipud fft_fftfreq fft_fftshift fft_ifftshift fft_rfftfreq gather hstack im2col index index_add index_copy
    index_fill index_put _index_put_impl _unsafe_index index_select masked_fill masked_scatter masked_select meshgrid
    one_hot pad pixel_shuffle pixel_unshuffle channel_shuffle put reflection_pad1d reflection_pad2d reflection_pad3d
    repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d resize roll rot90 scatter scatter_add
    scatter_reduce set stack take take_along_dim tile to tril triu type_as unfold vstack _unsafe_view _reshape_copy
    _pin_memory
    Bool Float Int IntImplicit FloatImplicit ScalarImplicit _local_scalar_dense _assert_async _assert_tensor_metadata
    _fused_sdp_choice _linalg_check_errors dim is_nonzero item numel size sym_numel sym_size
"""
_CHEAP = frozenset(_CHEAP_BY_NAME.split())
"""Reductions, selections, scans, pooling, normalisation, interpolation, creation and movement of data: about one
operation per value. Element-wise operators and views are recognised by torch's own tags."""


@cache
def is_cheap(operator: str) -> bool:
    """Whether an operator like "aten::gelu" costs about one operation per value. False for unknown operators."""
    space, _, name = operator.partition("::")
    if space != "aten":
        return space == "prim" and not name.startswith(("PythonOp", "CallFunction"))
    for spelling in (name, name.removesuffix("_")):
        packet = getattr(torch.ops.aten, spelling, None)
        overloads = [getattr(packet, each) for each in packet.overloads()] if packet is not None else []
        if spelling in _CHEAP or any(each.is_view or torch.Tag.pointwise in each.tags for each in overloads):
            return True
    return False
