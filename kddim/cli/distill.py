"""Verb `kddim distill`."""

from typing import Any

import click

from kddim.cli import options as shared
from kddim.cli.train import start_run
from kddim.cli.train_options import given_settings, option_of

# Settings that the model and the number of steps decide are left out.
_SETTINGS = (
    "batch_size", "epochs", "steps_per_epoch", "repeats", "optimizer", "learning_rate", "learning_rate_decay",
    "weight_decay", "ema", "loss", "remat", "flip", "limit", "validation_split", "kid_encoder",
    "encoder_weights", "kid_images", "kid_max_seconds", "every", "seed", "strict", "tensorboard",
    "track", "checkpoint_minutes", "checkpoint_steps", "backend", "dtype",
)  # fmt: skip
# A distillation costs about half of the model's training. A call of the teacher for each image of a
# batch costs this share of a training step (measured by benchmarks/distillations.py).
_COST_OF_CALL = 0.25


@click.command()
@click.argument("model", type=click.Path())
@click.argument("source")
@click.option("--diffusion-steps", type=click.IntRange(1, 64), required=True, help="Number of steps that MODEL is taught for.")  # fmt: skip
@shared.START
@option_of("output")
@click.option("--overwrite", is_flag=True, help="Replace an earlier run in that folder.")
@click.option("--dry-run", is_flag=True, help="Print the settings, the memory and the time of the run, and write nothing.")  # fmt: skip
@shared.group(*(option_of(name) for name in _SETTINGS))
@click.pass_context
def distill(context, model, source, diffusion_steps, start, overwrite, dry_run, **options):
    """Teach MODEL to generate in few steps, and write a run folder.

    A student with the weights of MODEL learns to do in one step of DDIM what MODEL does in several:
    in 16 on the whole path. It learns from paths that MODEL follows anew in each epoch. The images of
    SOURCE, which MODEL was trained on, are for the validation and the KID. The result generates with
    --diffusion-steps N, and with --start it does so from there.

    Settings that are not given are those of MODEL's own training, with as many of its epochs as cost
    half of it (0.38 of them for 2 steps, 0.3 for 1), --loss mean_squared_error, --ema 0.995 and
    --learning-rate-decay 0.3. KID is measured with the number of steps that is taught. An
    interrupted run goes on with kddim train --resume RUN.

    \b
    Examples:
      kddim distill runs/mine ~/pictures --diffusion-steps 2 --output runs/mine2
      kddim generate runs/mine2 --diffusion-steps 2
      kddim distill runs/mine ~/pictures --diffusion-steps 2 --start 0.9 --output runs/mine2
      kddim train --resume runs/mine2
    """
    from kddim.distillation import USES, substeps_of
    from kddim.training.starting import settings_of_run

    given = {name: value for name, value in given_settings(context).items() if name in options}
    given |= {"init": model, "source": source, "distill_steps": diffusion_steps}
    given |= {"kid_steps": diffusion_steps, "distill_start": start, "tune_steps": ()}
    defaults: dict[str, Any] = {"loss": "mean_squared_error", "ema": 0.995}
    defaults |= {"learning_rate_decay": 0.3, **settings_of_run(model)}
    if "epochs" in defaults:
        cost = 1.0 + _COST_OF_CALL * substeps_of(diffusion_steps) / USES
        defaults["epochs"] = max(1, round(0.5 / cost * defaults["epochs"]))
    start_run(context, given, None, overwrite, dry_run, defaults)
