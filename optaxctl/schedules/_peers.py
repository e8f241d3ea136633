"""What other libraries call the same thing."""

from typing import Final

PEERS: Final[dict[str, dict[str, str]]] = {
    "constant": {
        "optax": "constant_schedule",
        "transformers": "constant",
        "fastai": "SchedNo",
    },
    "linear": {
        "optax": "linear_schedule",
        "torch": "LinearLR",
        "transformers": "linear",
        "fastai": "SchedLin",
    },
    "polynomial": {
        "optax": "polynomial_schedule",
        "torch": "PolynomialLR",
        "keras": "PolynomialDecay",
        "transformers": "polynomial",
        "timm": "poly",
    },
    "step": {"torch": "StepLR", "timm": "step"},
    "multistep": {"torch": "MultiStepLR", "timm": "multistep"},
    "piecewise": {
        "optax": "piecewise_constant_schedule, piecewise_interpolate_schedule",
        "torch": "ConstantLR",
        "keras": "PiecewiseConstantDecay",
    },
    "exponential": {
        "optax": "exponential_decay",
        "torch": "ExponentialLR",
        "keras": "ExponentialDecay",
        "fastai": "SchedExp",
    },
    "inverse_time": {"keras": "InverseTimeDecay"},
    "inverse_sqrt": {"transformers": "inverse_sqrt", "timm": "rsqrt (of wsd)"},
    "cosine": {
        "optax": "cosine_decay_schedule",
        "torch": "CosineAnnealingLR",
        "keras": "CosineDecay",
        "transformers": "cosine, cosine_with_min_lr",
        "timm": "cosine",
        "fastai": "SchedCos",
    },
    "cosine_restarts": {
        "optax": "sgdr_schedule",
        "torch": "CosineAnnealingWarmRestarts",
        "keras": "CosineDecayRestarts",
        "transformers": "cosine_with_restarts",
        "timm": "cosine (cycle_limit)",
        "fastai": "fit_sgdr",
    },
    "one_cycle": {
        "optax": "cosine_onecycle_schedule, linear_onecycle_schedule",
        "torch": "OneCycleLR",
        "fastai": "fit_one_cycle",
    },
    "cyclic": {"torch": "CyclicLR"},
    "warmup_stable_decay": {
        "transformers": "warmup_stable_decay",
        "timm": "wsd",
        "fastai": "fit_flat_cos",
    },
    "power": {"timm": "power (of wsd)"},
    "tanh": {"timm": "tanh"},
    "custom": {"torch": "LambdaLR"},
    "multiplicative": {"torch": "MultiplicativeLR"},
    "join": {
        "optax": "join_schedules",
        "torch": "SequentialLR",
        "fastai": "combine_scheds",
    },
    "times": {"torch": "ChainedScheduler"},
    "warmup": {
        "optax": "warmup_constant_schedule, warmup_cosine_decay_schedule, "
        "warmup_exponential_decay_schedule",
        "keras": "CosineDecay (warmup_target)",
        "transformers": "constant_with_warmup",
        "timm": "warmup_prefix",
    },
    "cooldown": {"torch": "SWALR"},
    "repeat": {"timm": "cycle_limit"},
}
"""Names of each schedule elsewhere, by library."""
