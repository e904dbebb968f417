"""Configurations of diffusers' schedulers: the process, what is predicted, and the stepping.

A setting that changes results and is not known here is refused; one that is off changes nothing.
"""

from dataclasses import dataclass

from pdae_app.convert.errors import ConvertError
from pdae_app.convert.filling import typed
from pdae_app.convert.hints import Say
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.schedule import Schedule
from pdae_app.diffusion.spacing import Spacing
from pdae_app.typed_config import short

SCHEDULES = {"linear": "linear", "scaled_linear": "scaled_linear", "sigmoid": "sigmoid"}
SCHEDULES |= {"squaredcos_cap_v2": "cosine"}
PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
# Of what is read here.
READ = {"num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"}
READ |= {"rescale_betas_zero_snr", "prediction_type", "clip_sample", "clip_sample_range"}
READ |= {"set_alpha_to_one", "steps_offset", "timestep_spacing"}
# Without effect on what DDIM makes: the settings of what is off, and the noise of ancestral
# sampling. Names with a first underscore are diffusers' own notes.
IDLE = {"tensor_format", "variance_type"}
IDLE |= {"dynamic_thresholding_ratio", "sample_max_value", "skip_prk_steps"}
# The others step by other means, but were trained like any other. They do not read `clip_sample`.
DDIM_LIKE = ("DDIMScheduler", "DDPMScheduler")


@dataclass(frozen=True)
class Scheduled:
    """What a scheduler's configuration says: of the process, and of the steps, if anything."""

    diffusion: Diffusion
    spacing: Spacing | None


def read_scheduler(settings: dict, say: Say) -> Scheduled:
    """What a `scheduler_config.json` says.

    Raises:
        ConvertError: a setting is unknown, or cannot be used.
    """
    _refuse_unknown(settings)
    name = settings.get("_class_name", "DDIMScheduler")
    if name not in DDIM_LIKE:
        say(f"note: {name} is stepped by DDIM here, over the same betas")
    try:
        return Scheduled(typed(_diffusion(settings)), typed(_spacing(settings, name in DDIM_LIKE)))
    except (TypeError, ValueError, ArithmeticError) as error:
        reason = str(error)[:300]
        raise ConvertError(f"the scheduler's configuration cannot be used: {reason}") from error


def _refuse_unknown(settings: dict) -> None:
    unknown = sorted(
        str(key)
        for key, value in settings.items()
        if key not in READ | IDLE and not str(key).startswith("_") and value not in (None, False)
    )
    if unknown:
        raise ConvertError(
            f"the scheduler has settings that are not known here and may change results: "
            f"{', '.join(unknown[:12])[:200]}. Write the configuration of a DDIMScheduler of the "
            "same betas in its place"
        )


def _diffusion(settings: dict) -> Diffusion:
    target = settings.get("prediction_type", "epsilon")
    if target not in PREDICTIONS:
        raise ValueError(
            f"prediction_type {short(target)} is not known, only {', '.join(PREDICTIONS)}"
        )
    # PDAE's G itself has no bound where a v or x0 model is trained at next to no signal.
    shift = "G" if target == "epsilon" else "v"
    return Diffusion(_schedule(settings), PREDICTIONS[target], shift)


def _schedule(settings: dict) -> Schedule:
    steps, kind = settings.get("num_train_timesteps", 1000), settings.get("beta_schedule", "linear")
    zero_snr, betas = bool(settings.get("rescale_betas_zero_snr")), settings.get("trained_betas")
    if type(steps) is not int:
        raise ValueError(f"num_train_timesteps must be a whole number, got {short(steps)}")
    if betas is not None:
        given = tuple(float(beta) for beta in betas)
        return Schedule("given", steps, given=given, zero_snr=zero_snr)
    if kind not in SCHEDULES:
        raise ValueError(f"beta_schedule {short(kind)} is not known, only {', '.join(SCHEDULES)}")
    if kind == "squaredcos_cap_v2":
        return Schedule("cosine", steps, zero_snr=zero_snr)
    first, last = (float(settings.get(*key)) for key in (("beta_start", 1e-4), ("beta_end", 0.02)))
    usual = kind == "linear" and (first, last, steps) == (1e-4, 0.02, 1000)
    bounds = {} if usual else {"first": first, "last": last}
    return Schedule(SCHEDULES[kind], steps, **bounds, zero_snr=zero_snr)


def _spacing(settings: dict, can_clip: bool) -> Spacing:
    clips = can_clip and bool(settings.get("clip_sample", True))
    return Spacing(
        settings.get("timestep_spacing", "leading"),
        settings.get("steps_offset", 0),
        bool(settings.get("set_alpha_to_one", True)),
        float(settings.get("clip_sample_range", 1.0)) if clips else 0.0,
    )
