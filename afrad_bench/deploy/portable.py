"""AFRAD outside the harness: fit it on a folder, save it to a file, load it elsewhere, score images.

    from afrad_bench import AFRAD

    model = AFRAD.load("afrad.safetensors")
    prediction = model.predict("part.png")  # prediction.pred_score (1,), prediction.anomaly_map (1, 256, 256)

Results are those of the harness: preprocessing, network and batches are the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.deploy import model_file
from afrad_bench.deploy.model_file import Card
from afrad_bench.errors import UserError, fail
from afrad_bench.hashing import seed_for
from afrad_bench.images.intake import batches, training_set
from afrad_bench.machine.environment import resolve_device
from afrad_bench.methods import afrad
from afrad_bench.methods.afrad import Config
from afrad_bench.suite.checked import validated
from afrad_bench.types import Bench, Prediction, Seeds, TrainingRecord, Watch, unwatched

if TYPE_CHECKING:
    import torch

    from afrad_bench.images.intake import Image
    from afrad_bench.methods.afrad.method import Afrad

METHOD = "afrad"


class AFRAD:
    """AFRAD, to be fitted or loaded. `afrad-bench show afrad` lists the fields of its configuration."""

    def __init__(
        self,
        image_size: int = 256,
        *,
        device: str = "auto",
        seed: int = 0,
        cache: str | Path | None = None,
        **config: Any,
    ) -> None:
        """An unfitted model for images that are resized to `image_size` x `image_size`.

        `config`: fields as in a suite, e.g. `training={"epochs": 60}`,
        `backbone={"name": "tf_efficientnet_lite0", "weights": "packaged"}`; a `UserError` lists the invalid ones.
        `device`: "auto", "cpu", "cuda:0", "mps". `cache`: folder in which the features of training images are kept for
        the next fit."""
        checked = validated(Config, config, lambda _: "AFRAD")
        if isinstance(checked, list):
            raise UserError(*checked)
        assert isinstance(checked, Config)
        self.config = checked
        self.image_size = image_size
        self.device = resolve_device(device)
        self.seed = seed
        self.record: TrainingRecord | None = None
        """Record of `fit`; None for a model from a file, whose `card` has this information."""
        self._cache = None if cache is None else Path(cache).expanduser()
        self._method: Afrad | None = None
        self._card: Card | None = None

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> AFRAD:
        """Load the fitted model from a file that `save` or `afrad-bench run --keep-models` wrote.

        Raises `UserError` if the file is missing, foreign, damaged, of another method or newer than this version."""
        path = Path(path).expanduser()
        card = model_file.read_card(path)
        if card.method != METHOD:
            raise fail(
                f"a model of {card.method}, not of AFRAD",
                str(path),
                "afrad_bench.deploy.model_file.load loads a model of any method",
            )
        restored = model_file.load(path, device)
        made = cls(card.image_size, device=restored.bench.device, seed=card.trained_on.seed, **card.config)
        made._method = restored.method  # type: ignore[assignment]  # the card says that it is AFRAD
        made._card = card
        return made

    @property
    def card(self) -> Card:
        """Metadata in the file of this model: data, epochs, weights, versions. Raises `UserError` before `fit`."""
        self._fitted("card")
        assert self._card is not None
        return self._card

    def fit(self, images: Image | Sequence[Image], watch: Watch = unwatched) -> AFRAD:
        """Train from scratch on normal images: folder (recursive), paths, PIL images or uint8 arrays; returns self.

        `watch(done, total, what, loss)` is called with the progress."""
        train, white = training_set(images, self.image_size)
        features = FeatureCache(self._cache, watch=watch)
        seeds = Seeds(init=seed_for(self.seed, METHOD, "init"), order=seed_for(self.seed, METHOD, "order"))
        bench = Bench(self.device, self.image_size, seeds, features, watch=watch)
        method = afrad.build(self.config, bench)
        self.record = method.fit(train)
        self._method = method
        about = model_file.trained_on("", train.fingerprint, len(train), self.seed, self.record, white)
        weights = features.weights(self.config.backbone)
        self._card = model_file.card_of(METHOD, self.config, self.image_size, weights, about)
        return self

    def predict(self, images: Image | Sequence[Image]) -> Prediction:
        """Score one image or several: `pred_score` (N,) and `anomaly_map` (N, image_size, image_size), higher is more
        anomalous.

        Images may be paths, folders, PIL images or uint8 arrays (H, W, 3) in RGB, of any size. More than 8 bits per
        channel are scaled as in the training images."""
        import numpy as np

        method = self._fitted("predict")
        white = self.card.trained_on.white
        found = [method.predict(batch) for batch in batches(images, self.image_size, self.config.eval_batch, white)]
        maps = [each.anomaly_map for each in found if each.anomaly_map is not None]
        return Prediction(np.concatenate([each.pred_score for each in found]), np.concatenate(maps))

    def network(self) -> torch.nn.Module:
        """The whole inference path: (B, 3, image_size, image_size) float32 RGB in [0, 1] -> (anomaly map, score)."""
        return self._fitted("network").network()

    def save(self, path: str | Path) -> Path:
        """Write the fitted model, backbone included, into one file; returns its path."""
        return model_file.write(Path(path).expanduser(), self._fitted("save"), self.card)

    def _fitted(self, what: str) -> Afrad:
        if self._method is None:
            raise fail(f"AFRAD.{what} needs a fitted model", hint="call fit(images) first, or AFRAD.load(path)")
        return self._method
