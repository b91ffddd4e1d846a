"""DRAEM as a method: two networks trained together on corrupted images; see the package's docstring."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from afrad_bench.errors import fail
from afrad_bench.hashing import canonical
from afrad_bench.machine.copying import moved
from afrad_bench.methods.fitting import Checkpoint, batches, draws_of, mean_loss, stepped, train_epochs
from afrad_bench.methods.inference import predict
from afrad_bench.methods.official import note
from afrad_bench.methods.synthesis import Batch, Pair, corrupt, pairs, rotated
from afrad_bench.methods.textures import Textures, find
from afrad_bench.types import Bench, Images, Prediction, TrainingRecord
from afrad_bench_baselines.draem import STEP, Config, check
from afrad_bench_baselines.draem.checkpoint import load_official
from afrad_bench_baselines.draem.losses import loss
from afrad_bench_baselines.draem.networks import Discrimination, Network, Reconstruction
from afrad_bench_baselines.draem.textures import changed

Floats = npt.NDArray[np.floating]


class Draem:
    """See the package's docstring. The input's side must be a multiple of 32."""

    def __init__(self, config: Config, bench: Bench) -> None:
        self.config = config
        self.bench = bench
        side = bench.image_size
        check(config, side)
        with draws_of(bench, "networks"):
            reconstruction = Reconstruction(config.reconstruction_width)
            discrimination = Discrimination(config.discrimination_width)
        network = Network(reconstruction, discrimination, config.score)
        self.notes: tuple[str, ...] = ()
        if config.start is not None:
            path = Path(config.start).expanduser()
            load_official(network, path)
            self.notes += (note(path),)
        self.net = network.to(bench.device).to(memory_format=network.memory_format).eval()

    def fit(self, train: Images) -> TrainingRecord:
        """Train both networks on corrupted copies of normal images (section 3)."""
        config, bench, net = self.config.training, self.bench, self.net
        if not config.epochs:
            return TrainingRecord(notes=self.notes)
        textures = find(self.config.textures, train)
        alone = len(train) % config.batch_size == 1 or config.batch_size == 1
        if alone and bench.image_size == STEP:
            raise fail(
                f"at {STEP} px the deepest map has one position, and batch norm cannot learn from a batch of one "
                f"image, which {len(train)} images in batches of {config.batch_size} leave",
                hint="choose another training.batch_size or a larger image size",
            )
        notes = (*self.notes, textures.note)
        optimizer = torch.optim.Adam(net.parameters(), lr=config.lr)
        terms = [self.config.model_dump(mode="json"), notes, bench.image_size, len(train)]
        identity = canonical([*terms, bench.seeds.init, bench.seeds.order])
        checkpoint = Checkpoint(bench.checkpoint, identity, {"net": net, "optimizer": optimizer})

        def one_epoch(epoch: int) -> float:
            passed = sum(epoch >= share * config.epochs for share in config.milestones)
            for group in optimizer.param_groups:
                group["lr"] = config.lr * config.decay**passed
            order = batches(bench, len(train), config.batch_size, epoch)
            shown = pairs(bench, train, order, epoch, lambda rng, image: self._corrupted(rng, image, textures))
            return mean_loss(((self._step(optimizer, batch), len(batch.indices)) for batch in shown), len(train))

        return train_epochs(bench, checkpoint, config.epochs, len(train), net, one_epoch, notes)

    def _corrupted(self, rng: np.random.Generator, image: Floats, textures: Textures) -> Pair:
        """An image, sometimes rotated, and its copy, sometimes with an anomaly."""
        if rng.random() < self.config.synthesis.rotated:
            image = rotated(image, rng.uniform(-90, 90))
        if rng.random() >= self.config.synthesis.anomalous:
            return Pair(image, image, np.zeros(image.shape[1:], dtype=bool))
        texture = changed(Image.fromarray(textures.draw(rng, image.shape[-1])), rng)
        return corrupt(rng, image, np.asarray(texture, dtype=np.float32).transpose(2, 0, 1) / 255)

    def _step(self, optimizer: torch.optim.Optimizer, batch: Batch) -> Tensor:
        """One training step on a batch; returns its loss."""
        clean, corrupted, mask = (
            self.net.arranged(moved(part, self.bench.device)) for part in (batch.clean, batch.corrupted, batch.mask)
        )
        restored, probabilities = self.net.compare(corrupted)
        return stepped(loss(clean, restored, mask, probabilities), optimizer)

    def predict(self, images: Images) -> Prediction:
        """Predict each pixel's probability of being anomalous, and its largest mean in a window."""
        return predict(self.bench, self.net, images, self.config.eval_batch)

    def network(self) -> nn.Module:
        """Both networks and the score as one module in eval mode."""
        return self.net

    def modules(self) -> Mapping[str, nn.Module]:
        """The two networks, both trained."""
        return self.parts()

    def parts(self) -> Mapping[str, nn.Module]:
        """The two networks, named after their tasks."""
        return {"reconstruction": self.net.reconstruction, "discrimination": self.net.discrimination}

    def state(self) -> Mapping[str, Tensor]:
        """The tensors of both networks."""
        return self.net.state_dict()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load a state that `state()` returned."""
        self.net.load_state_dict(state)
