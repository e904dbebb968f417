"""Train PDAE on a frozen diffusion model (Zhang et al., NeurIPS 2022, Alg. 1).

The code is made of the picture, or with data.class_column of its class (Section 4.6).

accelerate launch training/train_pdae.py --config training/configs/faces128/pdae.yaml
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdae_app.bundle import Bundle, load_bundle
from pdae_app.diffusion.weighting import loss_weight
from pdae_app.families import Family, family
from pdae_app.models.pdae import PDAE, PDAEConfig
from pdae_app.models.semantic import ClassEncoderConfig, EncoderConfig
from pdae_app.models.unet import SketchConfig
from training.config import parse
from training.data import DataConfig
from training.dry_run import describe_run
from training.evaluation.overlap import keep_hashes
from training.loop import LoopConfig, finish, run_script, train
from training.losses import pdae_loss
from training.objective import Objective
from training.samples import (
    decoded,
    decoding_errors,
    gap_filled,
    in_pairs_of_rows,
    random_decodings,
)
from training.states import Sizes, held_out_states, shown_items, state_set
from training.timesteps import Timesteps


@dataclass(frozen=True)
class PdaeTrainConfig:
    """Everything that `train_pdae.py` takes.

    `dpm` is the bundle of the frozen model; `start` a PDAE bundle to continue from; `sketch`
    adds a rough picture of the code (see `Sketch`), and `stage: sketch` trains that and the encoder
    alone, as a plain autoencoder. `posterior` chooses the shift's factor in the loss
    (see `training.losses.pdae_loss`). With `data.class_column` there is no encoder of pictures:
    every class has a code of `class_z_dim` numbers. On a latent model the encoder reads pictures,
    at a size of its own. `warm_start` begins the gradient estimator, its sketch
    aside, as a copy of the frozen decoder, where their layers agree. `z_noise`, in parts of the
    codes' spread, is added to codes in training, so that near codes give near pictures.
    `keep_codes` leaves the encoder and the sketch of `start` as they are.
    """

    dpm: str
    data: DataConfig
    loop: LoopConfig
    bundle: str
    encoder: EncoderConfig | None = None
    class_z_dim: int = 512
    start: str | None = None
    sketch: SketchConfig | None = None
    stage: str = "pdae"
    weighting: str = "pdae"
    weighting_options: dict[str, float] = field(default_factory=dict)
    posterior: bool = True
    timesteps: Timesteps = field(default_factory=Timesteps)
    warm_start: bool = False
    z_noise: float = 0.0
    keep_codes: bool = False

    def __post_init__(self):
        if self.stage not in ("sketch", "pdae") or (self.stage == "sketch" and not self.sketch):
            raise ValueError("stage is 'pdae', or 'sketch' together with sketch: {}")
        if self.keep_codes and not (self.start and self.sketch and self.stage == "pdae"):
            raise ValueError("keep_codes is for the stage 'pdae', from a start with a sketch")
        if (self.encoder is None) != self.by_class:
            raise ValueError("give an encoder, or data.class_column, and not both")
        if self.by_class and self.stage == "sketch":
            raise ValueError("the sketch stage needs an encoder of pictures")

    @property
    def read(self) -> tuple[int, ...]:
        """The shape of what the encoder reads: a picture, or a class."""
        if self.by_class:
            return ()
        return self.encoder.in_channels, self.encoder.image_size, self.encoder.image_size

    @property
    def by_class(self) -> bool:
        """Whether the condition is a class."""
        return self.data.class_column is not None


class PdaeObjective(Objective):
    """Alg. 1: the encoder and the gradient estimator learn to fill the frozen model's gap."""

    def __init__(
        self,
        config: PdaeTrainConfig,
        frozen: Bundle,
        shown: tuple[Tensor, ...] = (),
        classes: int = 0,
    ):
        super().__init__()
        self.config, self.first_stage = config, frozen.first_stage
        self.timesteps = config.timesteps
        self.diffusion, self.schedule = frozen.diffusion, frozen.diffusion.schedule
        encoder = config.encoder or ClassEncoderConfig(classes, config.class_z_dim)
        self.model = PDAE(PDAEConfig(frozen.unet.config, encoder, config.sketch))
        self.model.unet = frozen.unet  # not a copy: it may be a gigabyte, and is never changed
        if config.start:
            start = load_bundle(config.start).model
            self.model.encoder.load_state_dict(start.encoder.state_dict())
            self.model.shift.load_state_dict(start.shift.state_dict())
        if config.warm_start:
            copy_agreeing(frozen.unet.decoder, self.model.shift)
        self.model.freeze_unet()
        if config.stage == "sketch":
            # What has no part in the loss must not be waited for when processes exchange gradients.
            self.model.shift.requires_grad_(False).sketch.requires_grad_(True)
            self.model.shift.sketch.enter.requires_grad_(False)
        self.variational = frozen.variational
        if config.keep_codes:
            self.model.encoder.requires_grad_(False)
            self.model.shift.sketch.requires_grad_(False).enter.requires_grad_(True)
        self.shown = shown

    def trained(self) -> dict[str, nn.Module]:
        shift = self.model.shift
        return {
            "encoder": self.model.encoder,
            "shift": shift.sketch if self.config.stage == "sketch" else shift,
        }

    def forward(self, x_0: Tensor, t: Tensor, noise: Tensor, condition: Tensor | None = None):
        """x_0, noise (N, C, S, S), t (N,) -> the loss.

        `condition` is what the encoder reads: pictures, or classes (N,); None where that is x_0.
        """
        config, z = self.config, self._code(x_0 if condition is None else condition)
        if config.stage == "sketch":
            return F.mse_loss(self.model.shift.sketch(z), x_0)
        weight = loss_weight(config.weighting, self.schedule, t, **config.weighting_options)
        return pdae_loss(
            self.model,
            self.diffusion,
            x_0,
            t,
            noise,
            weight=weight,
            posterior=config.posterior,
            z=z,
            variational=self.variational,
        )

    def _code(self, condition: Tensor) -> Tensor:
        """Codes (N, D), with noise in parts of their spread over the batch."""
        z = self.model.encoder(condition)
        if not self.config.z_noise:
            return z
        return z + self.config.z_noise * z.detach().std(dim=0) * torch.randn_like(z)

    def samples(self, device: torch.device) -> Tensor:
        """Training pictures, and below each what z alone brings back, from fixed random x_T."""
        if self.config.by_class:
            return self._of_classes(device)
        x_0, condition = (part.to(device) for part in (self.shown[0], self.shown[-1]))
        z = self.model.encoder(condition)
        if self.config.stage == "sketch":
            drawn = self.model.shift.sketch(z)
        else:
            drawn = random_decodings(self._networks.denoiser(z), x_0, self.schedule)
        return in_pairs_of_rows(*(decoded(self.first_stage, states) for states in (x_0, drawn)))

    def _of_classes(self, device: torch.device) -> Tensor:
        """32 new pictures, of the classes in turn."""
        unet = self.model.config.unet
        classes = torch.arange(32, device=device) % self.model.config.encoder.classes
        like = torch.empty(32, unet.in_channels, unet.image_size, unet.image_size, device=device)
        denoiser = self._networks.denoiser(self.model.encoder(classes))
        return decoded(self.first_stage, random_decodings(denoiser, like, self.schedule))

    @property
    def _networks(self) -> Family:
        return family(self.model, self.diffusion)

    def validate(self, x_0: Tensor, condition: Tensor | None = None) -> dict[str, float]:
        """Errors of what z brings back, and how much of the frozen model's gap is filled."""
        if self.config.by_class:
            return {}
        z = self.model.encoder(x_0 if condition is None else condition)
        if self.config.stage == "sketch":
            return {"sketch_mse": float(F.mse_loss(self.model.shift.sketch(z), x_0))}
        denoiser = self._networks.denoiser(z)
        known = {"process": self.schedule, "variational": self.variational}
        filled = gap_filled(self._networks.unconditional(), denoiser, x_0, **known)
        return decoding_errors(denoiser, x_0, **known) | {"gap_filled": filled}


def copy_agreeing(source: nn.Module, target: nn.Module) -> None:
    """Copy the parameters of `source`, its output's aside, that `target` has in the same shape."""
    own = target.state_dict()
    target.load_state_dict(
        {
            name: value
            for name, value in source.state_dict().items()
            if name in own and own[name].shape == value.shape and not name.startswith("conv_out")
        },
        strict=False,
    )


def counted(config: PdaeTrainConfig, seen: int) -> dict[str, dict[str, int]]:
    """Pictures that each stage has seen, those of the bundle that it went on from included."""
    known = load_bundle(config.start).info if config.start else {}
    before = {stage: known[stage] for stage in ("sketch", "pdae") if stage in known}
    earlier = before.get(config.stage, {}).get("pictures", 0)
    return before | {config.stage: {"pictures": earlier + seen}}


def main() -> None:
    """The command line."""
    config = parse(PdaeTrainConfig, __doc__)
    torch.manual_seed(config.loop.seed)  # of the first weights
    frozen = load_bundle(config.dpm)
    if config.loop.dry_run:
        objective = PdaeObjective(config, frozen, classes=1000)
        print(describe_run(config.loop, objective, frozen.state_shape, config.read))
        return
    sizes = Sizes(frozen.picture_size, config.encoder.image_size if config.encoder else None)
    dataset = state_set(config.data, frozen.first_stage, sizes)
    shown = () if config.by_class else shown_items(dataset)
    objective = PdaeObjective(config, frozen, shown, len(dataset.classes))
    held_out = held_out_states(config.data, frozen.first_stage, sizes)
    seen = train(config.loop, objective, dataset, held_out)
    trained = Bundle(
        frozen.unet,
        frozen.diffusion,
        objective.model,
        framing=config.data.align,
        classes=tuple(dataset.classes),
        info=frozen.info | counted(config, seen),
        first_stage=frozen.first_stage,
        variational=frozen.variational,
    )
    finish(
        trained,
        config.bundle,
        config.loop,
        lambda: keep_hashes(config.data, config.bundle, config.dpm),
    )


if __name__ == "__main__":
    run_script(main)
