"""Complexity against reference figures, hand-worked products, and the traps of both counters."""

from __future__ import annotations

import copy
import math
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import deform_conv2d

from afrad_bench.images.sets import ImageArray
from afrad_bench.instruments.counting import Untraceable, execute, trace, without_effect
from afrad_bench.instruments.macs import einsum, is_cheap
from afrad_bench.instruments.parameters import held, used
from afrad_bench.measures import complexity
from afrad_bench.methods import afrad
from afrad_bench.types import Cell, Dataset, Loop, Measurement, Prediction, Subject, TrainingRecord

SIDE = 16


class Network(nn.Module):
    """Wraps a function of (x, *modules) as a network: its output stands for the map, its maximum for the score."""

    def __init__(self, function, *parts):
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)
        self.eval()

    def forward(self, x):
        out = self.function(x, *self.parts)
        return out, out.flatten(1).amax(1)


class Method:
    def fit(self, train):
        return TrainingRecord()

    def predict(self, images):
        return Prediction(np.zeros(len(images)), None)


class WithNetwork(Method):
    def __init__(self, network):
        self._network = network

    def network(self):
        return self._network


class WithModules(WithNetwork):
    def __init__(self, network, **parts):
        super().__init__(network)
        self._parts = parts

    def modules(self):
        return self._parts


def subject(method, side=SIDE):
    images = ImageArray(np.zeros((1, 3, side, side), dtype=np.float32))
    cell = Cell("m", "{}", "d", "{}", "unified", None, side, 0, "demo")
    return Subject(cell, method, Dataset("d", "1", (), (), ""), images, images, TrainingRecord(), 0.0, None, "cpu", 1)


def rows(method, side=SIDE) -> dict[str, Measurement]:
    found = list(complexity.measure(subject(method, side), complexity.Config()))
    wanted = [name for name, metric in complexity.METRICS.items() if not metric.by_part]  # those come with parts only
    assert sorted(row.metric for row in found) == sorted(wanted)
    assert all(row.unit == complexity.METRICS[row.metric].unit for row in found)
    assert all(row.note for row in found if row.value is None)
    return {row.metric: row for row in found}


# ------------------------------------------------------------------------------------------------- reference figures


@pytest.mark.parametrize(
    ("name", "gmacs", "gflops_of_products", "parameters", "buffers"),
    [
        ("efficientnet_b4", 1.53783, 3.00742, 19_341_616, 125_296),
        ("wide_resnet50_2", 11.42692, 22.79604, 68_883_240, 68_277),
        ("vit_base_patch16_224", 17.58274, 35.12766, 86_567_656, 0),  # fused attention counted
    ],
)
def test_reference_models_at_224(name, gmacs, gflops_of_products, parameters, buffers):
    network = timm.create_model(name).eval()
    image = torch.rand(1, 3, 224, 224)
    traced, executed = trace(network, image), execute(network, image)
    assert traced.work.total / 1e9 == pytest.approx(gmacs, rel=0.005)
    assert 2 * executed.work.total / 1e9 == pytest.approx(gflops_of_products, rel=0.005)
    assert traced.work.products == executed.work.total
    assert not traced.work.unknown
    assert not executed.work.unknown
    assert held([network]).total == parameters
    reads = used(network, executed.read)
    assert (reads.parameters, reads.unread) == (parameters, ())
    counters = sum(1 for buffer_name, _ in network.named_buffers() if buffer_name.endswith("num_batches_tracked"))
    assert reads.values == buffers - counters  # which are not read to score


def test_a_backbone_that_runs_further_than_its_taps():
    """timm's EfficientNet runs its last blocks although no tap asks for them; only the trace leaves them out."""
    backbone = timm.create_model("efficientnet_b4", features_only=True, out_indices=(0, 1, 2, 3)).eval()
    image = torch.rand(1, 3, 224, 224)
    traced, executed = trace(backbone, image), execute(backbone, image)
    assert traced.work.total / 1e9 == pytest.approx(0.95004, rel=0.005)
    assert executed.work.total > 1.5 * traced.work.products
    assert held([backbone]).total == 16_742_216
    assert without_effect(traced, executed) == ("blocks.5", "blocks.6")
    del backbone.blocks[5:]
    cut, executed = trace(backbone, image), execute(backbone, image)
    assert cut.work.total == traced.work.total
    assert cut.work.products == executed.work.total
    assert without_effect(cut, executed) == ()


# ------------------------------------------------------------------------------------------ products that go missing

TOKENS = torch.rand(1, 196, 256)
MAPS = torch.rand(1, 64, 32, 32)
PATCHES = torch.rand(1, 784, 1024)
BANK = torch.rand(2000, 1024)
PROJECTIONS = 196 * 256 * (3 * 256 + 256)
ATTENTION = 2 * 196 * 196 * 256
CONV_3X3 = 32 * 32 * 64 * 64 * 9


def heads(x):
    return x.view(1, 196, 8, 32).transpose(1, 2)


def deformed(x, conv):
    offset = torch.zeros(1, 18, *x.shape[2:])
    return deform_conv2d(x, offset, conv.weight, padding=1)


PROBES = {
    "convolution": (lambda x, m: m(x), [nn.Conv2d(64, 64, 3, padding=1)], MAPS, CONV_3X3),
    "string padding": (lambda x, m: m(x), [nn.Conv2d(64, 64, 3, padding="same")], MAPS, CONV_3X3),
    "grouped, strided": (lambda x, m: m(x), [nn.Conv2d(64, 64, 3, 2, 1, groups=4)], MAPS, CONV_3X3 // 16),
    "transposed": (lambda x, m: m(x), [nn.ConvTranspose2d(64, 64, 4, 2, 1)], MAPS, 32 * 32 * 64 * 64 * 16),
    "deformable": (deformed, [nn.Conv2d(64, 64, 3)], MAPS, CONV_3X3 + 4 * 64 * 9 * 32 * 32),
    "fused attention": (lambda x: F.scaled_dot_product_attention(*[heads(x)] * 3), [], TOKENS, ATTENTION),
    "MHA with weights": (
        lambda x, m: m(x, x, x, need_weights=True)[0],
        [nn.MultiheadAttention(256, 8, batch_first=True)],
        TOKENS,
        PROJECTIONS + ATTENTION,
    ),
    "MHA without weights": (
        lambda x, m: m(x, x, x, need_weights=False)[0],
        [nn.MultiheadAttention(256, 8, batch_first=True)],
        TOKENS,
        PROJECTIONS + ATTENTION,
    ),
    "MHA masked, sequence first (baddbmm)": (
        lambda x, m: m(*[x.transpose(0, 1)] * 3, attn_mask=torch.zeros(196, 196))[0].transpose(0, 1),
        [nn.MultiheadAttention(256, 8)],
        TOKENS,
        PROJECTIONS + ATTENTION,
    ),
    "fused encoder layer": (
        lambda x, m: m(x),
        [nn.TransformerEncoderLayer(256, 8, 1024, batch_first=True)],
        TOKENS,
        PROJECTIONS + ATTENTION + 2 * 196 * 256 * 1024,
    ),
    "nearest neighbours": (lambda x: torch.cdist(x, BANK[None]), [], PATCHES, 784 * 2000 * 1024),
    "nearest neighbours, no product": (
        lambda x: torch.cdist(x, BANK[None, :20], compute_mode="donot_use_mm_for_euclid_dist"),
        [],
        PATCHES,
        784 * 20 * 1024,
    ),
    "broadcast product": (lambda x: torch.rand(10, 256) @ x.mT.expand(4, 256, 196), [], TOKENS, 4 * 10 * 256 * 196),
    "matrix times vector": (lambda x: (x[0] @ torch.rand(256))[None], [], TOKENS, 196 * 256),
    "tensordot": (lambda x: torch.tensordot(x, torch.rand(256, 12), 1), [], TOKENS, 196 * 256 * 12),
    "einsum of three": (
        lambda x: torch.einsum("bnc,cd,de->bne", x, torch.rand(256, 16), torch.rand(16, 64)),
        [],
        TOKENS,
        196 * 256 * 16 + 196 * 16 * 64,
    ),
}


@pytest.mark.parametrize("probe", PROBES)
def test_both_counters_see_every_product(probe):
    function, parts, image, macs = PROBES[probe]
    network = Network(function, *parts)
    traced, executed = trace(network, image), execute(network, image)
    assert traced.work.products == macs
    assert executed.work.total == macs
    assert not traced.work.unknown
    assert not executed.work.unknown


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bhid,bhjd->bhij", [(1, 2, 5, 3), (1, 2, 7, 3)]),
        ("...ij,...jk->...ik", [(1, 4, 5, 3), (4, 3, 6)]),
        ("b...c,cd", [(1, 4, 5, 3), (3, 6)]),
        ("bi,ij,jk,kl->bl", [(1, 3), (3, 4), (4, 5), (5, 6)]),
        ("bij,ij,kk->bk", [(1, 3, 4), (3, 4), (5, 5)]),
        ("bnc,mc,m->bnm", [(1, 9, 4), (6, 4), (6,)]),
        ("bij->bj", [(1, 3, 4)]),
    ],
)
def test_einsum_is_counted_as_torch_contracts_it(equation, shapes):
    image = torch.rand(shapes[0])
    others = [torch.rand(shape) for shape in shapes[1:]]
    network = Network(lambda x: torch.einsum(equation, x, *others))
    assert trace(network, image).work.products == execute(network, image).work.total


def test_einsum_along_a_given_path():
    shapes = [(196, 256), (256, 64), (64, 32)]
    assert einsum("nc,cd,de->ne", shapes, [1, 2, 0, 1]) == 256 * 64 * 32 + 196 * 256 * 32
    assert einsum("nc,cd,de->ne", shapes) == 196 * 256 * 64 + 196 * 64 * 32


def test_interpolation_and_norms_follow_fvcore_and_take_any_number_of_dimensions():
    network = Network(
        lambda x, norm: F.interpolate(norm(x[None, None, None])[0, 0, 0], scale_factor=2, mode="bicubic"),
        nn.LayerNorm(8),
    )
    work = trace(network, torch.rand(1, 3, 8, 8)).work
    assert work.macs == {"layer_norm": 5 * 3 * 64, "upsample_bicubic2d": 16 * 3 * 256}
    assert work.products == 0


# --------------------------------------------------------------------------------------------------- what the rows say


def test_figures_units_and_terms_of_a_small_network():
    network = Network(lambda x, c: c(x), nn.Conv2d(3, 4, 3, padding=1))
    found = rows(WithNetwork(network), side=32)
    macs = 32 * 32 * 3 * 4 * 9
    assert found["gmacs"].value == pytest.approx(macs / 1e9, rel=1e-12)
    assert found["gflops"].value == pytest.approx(2 * macs / 1e9, rel=1e-12)
    assert found["gmacs_torch"].value == pytest.approx(macs / 1e9, rel=1e-12)
    assert found["params_total"].value == found["params_inference"].value == pytest.approx(112 / 1e6)
    assert found["gmacs"].unit == "GMAC/image"
    assert found["gflops"].unit == "GFLOP/image"
    assert "1x3x32x32" in found["gmacs"].note
    assert "LOWER BOUND" not in found["gmacs"].note


def test_cheap_operators_are_named_but_are_no_lower_bound():
    network = Network(lambda x, c: F.gelu(c(x)).softmax(1).sort(1)[0], nn.Conv2d(3, 4, 1))
    found = rows(WithNetwork(network))
    note, calls = found["gmacs"].note, found["gflops"].note
    assert "not counted, about one operation per value:" in note
    for name in ("gelu", "softmax", "sort", "amax"):
        assert name in note
        assert f"{name} x1" in calls
    assert "LOWER BOUND" not in note + calls


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda x: torch.fft.rfft2(x).abs(), "fft_rfft2 x1"),
        (lambda x: torch.linalg.inv(x + torch.eye(SIDE)), "linalg_inv x1"),
        (lambda x: torch.linalg.norm(x, ord=2, dim=(2, 3)), "svd"),
    ],
)
def test_an_operator_of_unknown_cost_makes_a_lower_bound(function, operator):
    found = rows(WithNetwork(Network(lambda x, c: function(c(x)), nn.Conv2d(3, 3, 1))))
    for name in ("gmacs", "gflops"):
        assert "LOWER BOUND, no formula for" in found[name].note
        assert operator in found[name].note
    assert "LOWER BOUND" in found["gmacs_torch"].note


class Opaque(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


def test_a_python_operator_is_a_lower_bound():
    found = rows(WithNetwork(Network(lambda x, c: Opaque.apply(c(x)), nn.Conv2d(3, 3, 1))))
    assert "LOWER BOUND, no formula for prim::PythonOp.Opaque x1" in found["gmacs"].note


def test_no_operator_that_multiplies_matrices_passes_as_cheap():
    heavy = "mm bmm matmul addmm conv2d convolution linear lstm gru fft_fft _fft_r2c linalg_inv linalg_solve svd cdist"
    assert [name for name in heavy.split() if is_cheap(f"aten::{name}")] == []
    assert not is_cheap("mine::scan")
    assert all(is_cheap(f"aten::{name}") for name in ("mul", "add_", "hardswish_", "view", "mean", "topk", "rsub"))


def test_a_module_that_runs_twice_counts_twice_but_has_its_parameters_once():
    conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
    found = rows(WithNetwork(Network(lambda x, first, second: second(first(x)), conv, conv)))
    assert found["gmacs"].value == pytest.approx(2 * 81 * SIDE**2 / 1e9)
    assert found["gmacs_torch"].value == found["gmacs"].value
    assert found["params_total"].value == found["params_inference"].value == pytest.approx(81 / 1e6)


def test_work_without_effect_on_the_result_is_counted_as_executed_and_named():
    def wasteful(x, useful, useless):
        useless(x)
        return useful(x)

    found = rows(WithNetwork(Network(wasteful, nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3, padding=1))))
    assert found["gmacs"].value == pytest.approx(12 * SIDE**2 / 1e9)
    assert found["gmacs_torch"].value == pytest.approx((12 + 108) * SIDE**2 / 1e9)
    for name in ("gmacs", "gflops", "gmacs_torch"):
        assert "run without effect on the outputs that torch.jit sees: parts.1" in found[name].note
    assert found["params_inference"].value == found["params_total"].value  # they do run
    assert (
        found["params_inference"].note
        == "0.00 M of them run without effect on the outputs that torch.jit sees: parts.1"
    )


def test_work_that_leaves_torch_is_not_lost_in_silence():
    def detour(x, conv):
        return torch.from_numpy(np.sqrt(np.abs(conv(x).numpy())))

    found = rows(WithNetwork(Network(detour, nn.Conv2d(3, 4, 3, padding=1))))
    assert found["gmacs"].value == 0
    assert found["gmacs_torch"].value == pytest.approx(108 * SIDE**2 / 1e9)
    assert "fvcore 0 G, torch 2.765e-05 G" in found["gmacs"].note
    assert "run without effect on the outputs that torch.jit sees: parts.0" in found["gmacs"].note


def test_agreement_within_the_tolerance_is_not_remarked():
    network = Network(lambda x, a, b: a(x) + 0 * b(x).detach(), nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1))
    assert "torch" not in rows(WithNetwork(network))["gmacs"].note


class Stubborn(nn.Module):
    """Runs, but cannot be traced: NumPy does not take traced sizes."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1, bias=False)

    def forward(self, x):
        out = self.conv(x)
        side = int(math.sqrt(np.array([size + 0 for size in out.shape[2:]], dtype=np.int64).prod()))
        if torch.jit.is_tracing():
            raise TypeError("sizes are tensors while tracing")
        return out[:, 0, :side], out.amax((1, 2, 3))


def test_a_network_that_cannot_be_traced_keeps_torchs_count():
    network = Stubborn().eval()
    with pytest.raises(Untraceable, match="sizes are tensors"):
        trace(network, torch.rand(1, 3, 8, 8))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    found = rows(WithNetwork(network))
    assert found["gmacs"].value is None
    assert found["gflops"].value is None
    assert "TypeError: sizes are tensors while tracing" in found["gmacs"].note
    assert found["gmacs_torch"].value == pytest.approx(12 * SIDE**2 / 1e9)
    assert found["params_inference"].value == pytest.approx(12 / 1e6)


def test_a_network_that_fails_is_an_error_not_a_row():
    def broken(x):
        raise ValueError("no such layer")

    with pytest.raises(ValueError, match="no such layer"):
        rows(WithNetwork(Network(broken)))


def test_counting_says_nothing_beside_its_rows(caplog, capfd):
    rows(
        WithNetwork(
            Network(
                lambda x, c: torch.fft.rfft2(c(x)).abs(),
                nn.Conv2d(3, 3, 1),
            )
        )
    )
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


# --------------------------------------------------------------------------------------- parameters and stored values


def test_layers_that_never_run_are_no_parameters_of_inference():
    head = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 1))
    found = rows(WithNetwork(Network(lambda x, body, head: body(x), nn.Conv2d(3, 4, 1, bias=False), head)))
    assert found["params_inference"].value == pytest.approx(12 / 1e6)
    assert found["params_total"].value == pytest.approx((12 + 148 + 10) / 1e6)
    assert found["params_inference"].note == "read by no operator: parts.1"


def test_parameters_used_without_calling_their_module_count():
    attention = nn.MultiheadAttention(SIDE, 2, batch_first=True)
    network = Network(
        lambda x, m, c: m(x[:, 0], x[:, 0], x[:, 0])[0] + c.weight[0].sum(), attention, nn.Conv2d(3, 4, 1)
    )
    found = rows(WithNetwork(network))
    assert found["params_inference"].value == pytest.approx((4 * SIDE**2 + 4 * SIDE + 12) / 1e6)
    assert found["params_inference"].note == "read by no operator: parts.1.bias"


def test_parts_used_in_training_only_are_in_the_total():
    frozen, decoder, critic = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1), nn.Linear(3, 1)
    frozen.requires_grad_(False)
    network = Network(lambda x, a, b: b(a(x)), frozen, decoder)
    found = rows(WithModules(network, whole=network, decoder=decoder, critic=critic))
    assert found["params_total"].value == pytest.approx((16 + 15 + 4) / 1e6)
    assert found["params_trainable"].value == pytest.approx((15 + 4) / 1e6)
    assert found["params_inference"].value == pytest.approx((16 + 15) / 1e6)
    assert found["params_total"].note == "unique parameters of whole, decoder, critic"


def test_stored_values_are_the_buffers_that_scoring_reads():
    network = Network(lambda x, holder: torch.cdist(x.flatten(2).mT, holder.bank[None]), nn.Module())
    network.parts[0].register_buffer("bank", torch.rand(1000, 3))
    network.parts[0].register_buffer("unused", torch.rand(77))
    found = rows(WithNetwork(network))
    assert found["stored_values"].value == pytest.approx(3000 / 1e6)
    assert found["stored_size"].value == pytest.approx(12_000 / 2**20)
    assert found["stored_values"].note == ""
    assert found["params_inference"].value == 0


def test_a_bank_that_is_no_buffer_is_not_overlooked():
    bank = torch.rand(500, 3, dtype=torch.float64)
    found = rows(WithNetwork(Network(lambda x: torch.cdist(x.flatten(2).mT.double(), bank[:400][None]))))
    assert found["stored_values"].value == pytest.approx(1500 / 1e6)
    assert found["stored_size"].value == pytest.approx(12_000 / 2**20)
    assert "1,500 of them in tensors that are not buffers" in found["stored_values"].note


def test_numbers_made_while_scoring_are_not_stored():
    network = Network(lambda x: x * torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1) + torch.arange(SIDE) + torch.ones(SIDE))
    assert rows(WithNetwork(network))["stored_values"].value == 0


def test_a_method_without_network_says_so_and_may_still_name_its_modules():
    found = rows(Method())
    assert all(row.value is None for row in found.values())
    assert "network()" in found["gmacs"].note

    class Opaque(Method):
        def modules(self):
            return {"model": nn.Linear(3, 2)}

    found = rows(Opaque())
    assert found["params_total"].value == pytest.approx(8 / 1e6)
    assert found["params_inference"].value is None


def test_the_measures_import_without_torch():
    code = (
        "import sys; from afrad_bench.measures import complexity, cost, latency; "
        "print(sorted({'torch', 'numpy', 'fvcore', 'psutil'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ------------------------------------------------------------------------------------------------------------ by part


class WithParts(WithNetwork):
    def __init__(self, network, **named):
        super().__init__(network)
        self._named = named

    def parts(self):
        return self._named


def by_part(method, metric: str, side=SIDE) -> dict[str, float | None]:
    found = complexity.measure(subject(method, side), complexity.Config())
    return {row.category: row.value for row in found if row.metric == metric}


def test_parts_by_hand_and_the_rest():
    first, second = nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.Conv2d(5, 6, 1))
    loose = nn.Conv2d(6, 2, 1)
    method = WithParts(Network(lambda x, *p: p[2](p[1](p[0](x))), first, second, loose), first=first, second=second)
    area = SIDE * SIDE
    assert by_part(method, "gmacs_part") == {
        "first": area * 3 * 4 / 1e9,
        "second": area * (4 * 5 * 9 + 5 * 6) / 1e9,
        "rest": pytest.approx(area * 6 * 2 / 1e9),
    }
    assert by_part(method, "params_part") == {"first": 16 / 1e6, "second": (4 * 5 * 9 + 5 + 36) / 1e6, "rest": 14 / 1e6}


def test_parameters_that_parts_share_are_named_and_counted_once():
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    second.weight = first.weight
    method = WithParts(Network(lambda x, a, b: b(a(x[..., :8])), first, second), first=first, second=second)
    told = by_part(method, "params_part")
    assert told == {"first": 8 / 1e6, "second": 8 / 1e6, "rest": 0.0, "shared by parts": 64 / 1e6}


def test_parts_that_overlap_or_are_elsewhere_are_refused():
    whole = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1))
    network = Network(lambda x, m: m(x), whole)
    with pytest.raises(ValueError, match="inner inside whole"):
        by_part(WithParts(network, whole=whole, inner=whole[0]), "gmacs_part")
    with pytest.raises(ValueError, match=r"not in network\(\): stranger"):
        by_part(WithParts(network, stranger=nn.Conv2d(3, 4, 1)), "gmacs_part")


def test_a_method_that_names_no_parts_has_none():
    assert by_part(WithNetwork(Network(lambda x, m: m(x), nn.Conv2d(3, 4, 1))), "params_part") == {}


def test_parts_of_an_untraceable_network_have_a_reason():
    conv = nn.Conv2d(3, 4, 1)

    class Stubborn(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = conv
            self.eval()

        def forward(self, x):
            if torch.jit.is_tracing():
                raise RuntimeError("not in a trace")
            out = self.conv(x)
            return out[:, 0], out.flatten(1).amax(1)

    found = list(complexity.measure(subject(WithParts(Stubborn(), conv=conv)), complexity.Config()))
    told = {row.category: row for row in found if row.metric == "gmacs_part"}
    assert [(name, row.value) for name, row in told.items()] == [("conv", None), ("rest", None)]
    assert all("cannot trace" in row.note for row in told.values())
    assert by_part(WithParts(Stubborn(), conv=conv), "params_part") == {"conv": 16 / 1e6, "rest": 0.0}


@pytest.mark.parametrize("changes", [{}, {"ngib": False, "decoders": ["stage_adaptive", "compensation"]}])
def test_parts_of_afrad_add_up_to_its_totals(bench, changes):
    config = {"backbone": {"name": "resnet18", "weights": "random"}, "width": 9, **changes}
    method = afrad.build(afrad.Config.model_validate(config), bench)
    found = list(complexity.measure(subject(method, 64), complexity.Config()))
    total = {row.metric: row.value for row in found if row.category is None}
    macs = {row.category: row.value for row in found if row.metric == "gmacs_part"}
    parameters = {row.category: row.value for row in found if row.metric == "params_part"}
    last = ["CD", "NGIB"] if not changes else ["CD", "fusion"]
    assert list(macs) == ["backbone", "M-FPN", "SAD", *([] if changes else ["FLD"]), *last, "rest"]
    assert sum(macs.values()) == pytest.approx(total["gmacs"], rel=1e-9)
    assert sum(parameters.values()) == pytest.approx(total["params_inference"], rel=1e-9)
    assert parameters["rest"] == 0
    assert macs["rest"] < 0.01 * total["gmacs"]
    decoder = method.scorer.reconstruction.decoders["stage_adaptive"]
    assert parameters["SAD"] == sum(p.numel() for p in decoder.parameters()) / 1e6


# -------------------------------------------------------------------------------------------------------------- loops


class Turning(nn.Module):
    """A convolution and an operator without a formula in a loop, between two convolutions."""

    def __init__(self, turns):
        super().__init__()
        self.turns = turns
        self.first, self.step, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 1, 1)
        self.register_buffer("levels", torch.linspace(1, 2, 50))
        self.eval()

    def forward(self, x):
        x = self.first(x)
        for turn in range(self.turns):
            x = torch.special.i0(self.step(x).tanh()) * self.levels[turn % 50]
        out = self.last(x)[:, 0]
        return out, out.flatten(1).amax(1)


class WithLoop(WithNetwork):
    def parts(self):
        return {"step": self._network.step, "last": self._network.last}

    def loop(self):
        def shortened(turns):
            network = copy.copy(self._network)
            network.turns = turns
            return network

        return Loop(self._network.turns, shortened)


class WithoutLoop(WithNetwork):
    parts = WithLoop.parts


@pytest.mark.parametrize("turns", [1, 2, 3, 40])
def test_a_loop_is_counted_as_if_all_of_its_turns_had_run(turns):
    network = Turning(turns)
    by_loop, whole = (
        {(row.metric, row.category): row for row in complexity.measure(subject(method), complexity.Config())}
        for method in (WithLoop(network), WithoutLoop(network))
    )
    products = 27 * 8 * (SIDE - 2) ** 2 + turns * 64 * (SIDE - 2) ** 2 + 8 * (SIDE - 2) ** 2
    assert by_loop["gmacs", None].value == pytest.approx(products / 1e9)
    assert by_loop["gmacs_part", "step"].value == pytest.approx(turns * 64 * (SIDE - 2) ** 2 / 1e9)
    assert by_loop.keys() == whole.keys()
    for key, row in by_loop.items():
        assert (row.value, row.note.replace(f", {turns} turns of the loop", "")) == (whole[key].value, whole[key].note)


def test_the_loop_is_not_turned_to_count_it():
    found = complexity.measure(subject(WithLoop(Turning(10**9))), complexity.Config())
    (macs,) = (row.value for row in found if row.metric == "gmacs")
    assert macs == pytest.approx(64 * (SIDE - 2) ** 2, rel=1e-6)
