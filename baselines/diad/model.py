"""DiAD as a method: two stages of training, then reconstruction by DDIM. See the package's docstring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from afrad_bench.methods.diffusion.noise import gaussian, generator
from afrad_bench.methods.fitting import draws_of
from afrad_bench.methods.inference import predict
from afrad_bench.methods.official import note
from afrad_bench.types import Bench, Images, Loop, Prediction, TrainingRecord
from afrad_bench_baselines.diad import (
    REDUCTIONS,
    Config,
    autoencoder_at,
    lpips_at,
    must_fit,
    weights_at,
)
from afrad_bench_baselines.diad.networks import Denoising, autoencoder_of
from afrad_bench_baselines.diad.scoring import Network
from afrad_bench_baselines.diad.training import identity_of, train_denoising, tune_autoencoder
from afrad_bench_baselines.diad.weights import LENGTH, load, load_autoencoder, tensors


class Diad:
    """See the package's docstring."""

    def __init__(self, config: Config, bench: Bench) -> None:
        self.config = config
        self.bench = bench
        side = bench.image_size
        must_fit(config, side)
        weights, own, self.lpips = weights_at(config), autoencoder_at(config), lpips_at(config)
        extractor = bench.features.extractor(config.backbone, REDUCTIONS, side, bench.device)
        with draws_of(bench, "networks"):
            autoencoder, denoising = autoencoder_of(config.autoencoder), Denoising(config)
            if weights is None:
                context = gaussian((1, LENGTH, config.denoiser.context), generator(bench, "context"))
                notes = ["random weights: Stable Diffusion was never trained, and the prompt's vectors are random"]
            else:
                context, found = load(denoising, autoencoder, weights)
                notes = list(found)
        if own is not None:
            load_autoencoder(autoencoder, tensors(own), own)
            notes.append(note(own, "autoencoder of the file"))
        if config.sff == "paper" and denoising.guidance.fusion.inert:
            notes.append("the fusion is zero in the file of weights, and so cannot learn")
        latent = side // config.reduction
        noise = gaussian((2, config.autoencoder.channels, latent, latent), generator(bench, "noise of scoring"))
        denoising.freeze()
        autoencoder.requires_grad_(config.training.autoencoder.epochs > 0)
        self.notes = tuple(notes)
        net = Network(autoencoder, denoising, extractor, context, noise, side, config.steps)
        self.net = net.to(bench.device).eval()

    def fit(self, train: Images) -> TrainingRecord:
        """Tune the autoencoder on the images (stage A), then train SGN and decoder on its latents (stage B)."""
        config, bench, net = self.config, self.bench, self.net
        terms = [config.model_dump(mode="json"), self.notes, net.extractor.key, len(train)]
        identity = identity_of(bench, *terms)
        notes, before = self.notes, 0
        if config.training.autoencoder.epochs:
            tuned = tune_autoencoder(config.training.autoencoder, bench, net, train, identity, self.lpips)
            before = tuned.images_seen
            notes += (
                f"autoencoder tuned in {tuned.epochs} epochs, loss {tuned.loss[0]:.4g} to {tuned.loss[-1]:.4g}",
                *(["stage A without LPIPS"] if self.lpips is None else []),
                *tuned.notes,
            )
        net.autoencoder.eval()
        record = train_denoising(config.training, bench, net, train, identity, notes)
        net.eval()
        return replace(record, images_seen=record.images_seen + before)

    def predict(self, images: Images) -> Prediction:
        """Reconstruct images by DDIM, and score them by the distance of features."""
        return predict(self.bench, self.net, images, self.config.eval_batch)

    def network(self) -> nn.Module:
        """Encoding, all steps, decoding and comparison as one module in eval mode."""
        return self.net

    def loop(self) -> Loop:
        """The steps of DDIM: each runs SGN and U-Net once."""
        return Loop(self.config.steps, self.net.shortened)

    def modules(self) -> Mapping[str, nn.Module]:
        """All networks but the text tower, of which only the vectors of the empty prompt are kept."""
        net = self.net
        return {
            "autoencoder": net.autoencoder,
            "sgn": net.denoising.guidance,
            "unet": net.denoising.unet,
            "backbone": net.extractor,
        }

    def parts(self) -> Mapping[str, nn.Module]:
        """Parts in order of execution; DDIM, distances and smoothing count as the rest."""
        net = self.net
        return {
            "encoder": net.autoencoder.encoder,
            "sgn": net.denoising.guidance,
            "unet": net.denoising.unet,
            "decoder": net.autoencoder.decoder,
            "backbone": net.extractor,
        }

    def state(self) -> Mapping[str, Tensor]:
        """Everything that `network()` holds."""
        return self.net.state_dict()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load a state that `state()` returned."""
        self.net.load_state_dict(state)
        self.net.denoising.guidance.fusion.looked_at()
