"""Names of samplers, schedules, encoders, optimisers and recipes, and the objects they stand for.

Each entry maps a name to the dotted path of a class, a function or a table. This file imports
nothing, so that the command line can list the names in its help without starting Keras. The
modules named beside the tables read the same tables. To give a name to a new class, put the class
into a file of its own and add one line here.
"""

from collections.abc import Iterable

# Subclasses of `kddim.samplers.Sampler`.
SAMPLERS = {
    "ddim": "kddim.samplers.ddim.DDIM",
    "ddpm": "kddim.samplers.ddpm.DDPM",
    "heun": "kddim.samplers.heun.Heun",
    "dpm_solver_pp": "kddim.samplers.dpm_solver.DPMSolverPP",
    "adams_bashforth": "kddim.samplers.adams_bashforth.AdamsBashforth",
    "ipndm": "kddim.samplers.ipndm.IPNDM",
    "annealed_langevin": "kddim.samplers.annealed_langevin.AnnealedLangevin",
    "predictor_corrector": "kddim.samplers.predictor_corrector.PredictorCorrector",
    "repaint": "kddim.samplers.repaint.RePaint",
}

# Subclasses of `kddim.schedules.Schedule`.
SCHEDULES = {
    "cosine": "kddim.schedules.cosine.CosineSchedule",
    "fine_cosine": "kddim.schedules.cosine.FineCosineSchedule",
    "geometric": "kddim.schedules.geometric.GeometricSchedule",
    "flow_matching": "kddim.schedules.flow_matching.FlowMatchingSchedule",
    "linear_beta": "kddim.schedules.linear_beta.LinearBetaSchedule",
    "log_snr_linear": "kddim.schedules.log_snr_linear.LogSNRLinearSchedule",
    "nichol_dhariwal": "kddim.schedules.nichol_dhariwal.NicholDhariwalSchedule",
    "sigmoid": "kddim.schedules.sigmoid.SigmoidSchedule",
}

# Subclasses of `kddim.training_times.TimeDistribution`.
TIME_DISTRIBUTIONS = {
    "uniform": "kddim.training_times.UniformTimes",
    "log_normal": "kddim.training_times.LogNormalTimes",
    "logit_normal": "kddim.training_times.LogitNormalTimes",
}

# Subclasses of `kddim.weightings.Weighting`.
WEIGHTINGS = {
    "constant": "kddim.weightings.ConstantWeighting",
    "min_snr": "kddim.weightings.MinSNR",
    "sigmoid": "kddim.weightings.SigmoidWeighting",
}

# Subclasses of `keras.optimizers.Optimizer` with the arguments of `keras.optimizers.AdamW`.
OPTIMIZERS = {
    "adamw": "keras.optimizers.AdamW",
    "muon": "kddim.optimizers.Muon",
}

# Functions `(image_size, weights, antialias) -> kddim.metrics.Encoder`, which
# `kddim.metrics.encoders` reads. Each may ignore or refuse
# the options that it does not have; None is its own default.
ENCODERS = {
    "inception_v3": "kddim.metrics.encoders.keras_inception.inception_v3_encoder",
    "random_conv": "kddim.metrics.encoders.random_convolution.random_conv_encoder",
    "mobilenet": "kddim.metrics.encoders.keras_mobilenet.mobilenet_encoder",
    "pt_inception": "kddim.metrics.encoders.fidelity_inception.pt_inception_encoder",
    "auto": "kddim.metrics.encoders.lookup.automatic_encoder",
}

# Settings of `kddim train --preset NAME`, by their names in `kddim.settings.Settings`.
RECIPES = {
    "example": "kddim.presets.recipes.EXAMPLE",
    "fast": "kddim.presets.recipes.FAST",
}
DEFAULT_RECIPE = "fast"  # of `kddim train`, for other images than digits


def join_names(names: Iterable[str]) -> str:
    """Return names as a list in words, such as `cosine, linear_beta or sigmoid`."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
