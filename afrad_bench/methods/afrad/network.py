"""AFRAD as modules: the trained reconstruction (F_ori -> F_rec), and the path from F_ori to the scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from afrad_bench import registry
from afrad_bench.backbone.memory_format import Arranged
from afrad_bench.methods.afrad import own_decoders
from afrad_bench.methods.afrad.config import Config
from afrad_bench.methods.afrad.decoders import (
    CompensationDecoder,
    FocusedLocalDecoder,
    OwnDecoder,
    StageAdaptiveDecoder,
)
from afrad_bench.methods.afrad.frm import FeatureRefinement, TokenLinear
from afrad_bench.methods.afrad.mfpn import MFPN
from afrad_bench.methods.afrad.ngib import NGIB, PlainFusion
from afrad_bench.methods.afrad.scoring import (
    error_map,
    image_score,
    pixel_map,
    relative_errors,
    stage_errors,
    stage_means,
    stage_sizes,
    stage_weights,
)


class Reconstruction(nn.Module):
    """M-FPN, the decoders that the configuration names, and their integration: F_ori -> F_rec, both (B, C, H, W)."""

    def __init__(self, channels: int, size: tuple[int, int], config: Config) -> None:
        super().__init__()

        def refine(width: int, times: int, at: tuple[int, int], skip: bool = True) -> nn.Module:
            if not config.frm.enabled:  # Table 7: a linear layer replaces each refinement
                return TokenLinear(width, width)
            positions = at[0] * at[1] if config.frm.token_mixing else None
            return FeatureRefinement(width, config.frm.expansion, times, positions, skip)

        seen = {
            "stage_adaptive": config.sad.stages,
            "focused_local": config.fld.stages,
            "compensation": config.cd.stages,
        }
        own = [name for name in config.decoders if name not in seen]
        seen |= {name: own_decoders.stages_of(name, len(config.mfpn.widths)) for name in own}
        last = max(stage for name in config.decoders for stage in seen[name])
        self.mfpn = MFPN(channels, size, config.mfpn, last, config.frm.depth, refine)
        widths, sizes, expansion = config.mfpn.widths, self.mfpn.sizes, config.frm.expansion
        of_decoder = partial(refine, skip=config.sad.skip)
        made: dict[str, Callable[[], nn.Module]] = {
            "stage_adaptive": lambda: StageAdaptiveDecoder(widths, sizes, config.width, config.sad, of_decoder),
            "focused_local": lambda: FocusedLocalDecoder(widths, sizes, config.width, config.fld),
            "compensation": lambda: CompensationDecoder(widths, sizes, config.width, config.cd, refine, expansion),
        }
        for name in own:
            build = registry.find("afrad_decoder", name).load().build
            made[name] = partial(OwnDecoder, name, build, seen[name], widths, sizes, config.width)
        self.decoders = nn.ModuleDict({name: made[name]() for name in config.decoders})
        count = len(config.decoders)
        self.integrate: nn.Module = (
            NGIB(count, config.width, channels, expansion, config.ngib_skip)
            if config.ngib
            else PlainFusion(count, config.width, channels, config.fusion == "concat")
        )
        self.size = size

    def forward(self, features: Tensor) -> Tensor:
        stages = self.mfpn(features)
        out: Tensor = self.integrate([decode(stages) for decode in self.decoders.values()])
        if tuple(out.shape[-2:]) != self.size:  # the first stage has a stride
            out = nn.functional.interpolate(out, self.size, mode="bilinear", align_corners=False)
        return out


class Standardise(nn.Module):
    """(F - mean) / standard deviation per channel of the training set; the identity until both are set."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("deviation", torch.ones(1, channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.deviation


class Scorer(Arranged):
    """A sequence of one F_ori (B, C, h, w) -> (anomaly map (B, H, W), image score (B,)): all after the backbone."""

    means: Tensor
    weights: Tensor
    image_weights: Tensor

    def __init__(self, scales: Sequence[int], grid: tuple[int, int], image: tuple[int, int], config: Config) -> None:
        """`scales`: channels of each backbone stage in F_ori."""
        super().__init__()
        channels = sum(scales)
        self.image = image
        self.config = config.score
        self.register_buffer("means", stage_means(scales), persistent=False)
        for name, weigh in (("weights", config.score.weigh), ("image_weights", config.score.weigh_image)):
            self.register_buffer(name, stage_weights(scales, weigh), persistent=False)
        self.standardise = Standardise(channels)
        self.reconstruction = Reconstruction(channels, grid, config)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        (features,) = maps
        original = self.standardise(self.arranged(features))
        stages = stage_errors(self.reconstruction(original), original, self.means)
        score = self.config
        sizes = stage_sizes(original, self.means) if score.relative or score.relative_image else None
        errors = error_map(relative_errors(stages, sizes, score.relative), self.weights)
        pixels = pixel_map(errors, self.image)
        if (score.weigh_image, score.relative_image) == (score.weigh, score.relative):
            return pixels, image_score(errors, pixels, score)
        errors = error_map(relative_errors(stages, sizes, score.relative_image), self.image_weights)
        return pixels, image_score(errors, pixel_map(errors, self.image), score)
