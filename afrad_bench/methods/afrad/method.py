"""AFRAD as a method: fits on cached features and predicts from them; one network for measures and export."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import torch
from torch import Tensor, nn

from afrad_bench.methods.afrad.config import Config, reads
from afrad_bench.methods.afrad.network import Scorer
from afrad_bench.methods.afrad.training import train
from afrad_bench.methods.demands import multiple_of
from afrad_bench.methods.frozen import FrozenNetwork, TrainingMaps, predict
from afrad_bench.types import Bench, Images, Prediction, TrainingRecord

SHORT = {"stage_adaptive": "SAD", "focused_local": "FLD", "compensation": "CD"}
"""Names of the paper's decoders there."""


class Afrad:
    """See the package's docstring. Input side must be a multiple of the grid and of the largest backbone reduction."""

    def __init__(self, config: Config, bench: Bench) -> None:
        self.config = config
        self.bench = bench
        grid = config.features.grid
        multiple_of(config.step, bench.image_size, "AFRAD")
        self.extractor = reads(config, bench.image_size).extractor(bench)
        (self.channels,) = self.extractor.channels
        side = bench.image_size // grid
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(bench.seeds.init)
            scorer = Scorer(self.extractor.map_channels, (side, side), (bench.image_size, bench.image_size), config)
        self.scorer = scorer.to(bench.device).to(memory_format=scorer.memory_format).eval()

    def fit(self, train_images: Images) -> TrainingRecord:
        """Train the reconstruction on the features of normal images."""
        maps = TrainingMaps(self.bench, self.extractor, train_images, in_memory=True)
        if self.config.features.scale == "standardised":
            self._standardise_by(maps)
        return train(self.scorer, maps, self.extractor.map_channels, self.config.training, self.bench)

    def predict(self, images: Images) -> Prediction:
        """Score a batch by eq. 14, from its cached features."""
        return predict(self.bench, self.extractor, self.scorer, images, self.config.eval_batch)

    def network(self) -> nn.Module:
        """Backbone, reconstruction and scoring as one module in eval mode."""
        return FrozenNetwork(self.extractor, self.scorer)

    def parts(self) -> Mapping[str, nn.Module]:
        """Backbone, M-FPN, decoders and integration; standardisation and scoring count as the rest."""
        net = self.scorer.reconstruction
        decoders = {SHORT.get(name, f"decoder {name}"): decoder for name, decoder in net.decoders.items()}
        return {
            "backbone": self.extractor,
            "M-FPN": net.mfpn,
            **decoders,
            "NGIB" if self.config.ngib else "fusion": net.integrate,
        }

    def state(self) -> Mapping[str, Tensor]:
        """Everything that `network()` holds: backbone, reconstruction and feature statistics."""
        return self.network().state_dict()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load a state that `state()` returned."""
        self.network().load_state_dict(state)

    def _standardise_by(self, maps: TrainingMaps) -> None:
        """Set mean and standard deviation of each channel over images and positions; in float64, image by image."""
        where = "cpu" if self.bench.device == "mps" else self.bench.device  # Metal lacks float64
        total, square = torch.zeros(2, self.channels, dtype=torch.float64, device=where)
        count = 0
        for image in chain.from_iterable(chunk.unbind() for (chunk,) in maps.chunks()):
            rows = image.to(where, torch.float64)
            total += rows.sum((1, 2))
            square += rows.square().sum((1, 2))
            count += rows[0].numel()
        mean = total / count
        deviation = (square / count - mean.square()).clamp_min(0).sqrt()
        deviation[deviation < 1e-6] = 1.0  # a constant channel has no information; it keeps its scale
        self.scorer.standardise.mean.copy_(mean.view(1, -1, 1, 1))
        self.scorer.standardise.deviation.copy_(deviation.view(1, -1, 1, 1))
