"""What tools call the figures of a training log, and what they are called here."""

# Of training; the first name is this library's. Rewards are beta times log-ratios to the reference.
TRAINING: dict[str, tuple[str, ...]] = {
    "loss": ("loss",),
    "learning_rate": ("rate", "learning_rate", "lr"),
    "gradient_norm": ("gradient", "grad_norm", "gradient_norm"),
    "chosen_log_prob": ("chosen_log_prob", "logps/chosen", "chosen_logps", "policy_chosen_logps"),
    "rejected_log_prob": (
        "rejected_log_prob",
        "logps/rejected",
        "rejected_logps",
        "policy_rejected_logps",
    ),
    "chosen_reward": ("chosen_reward", "rewards/chosen", "chosen_rewards"),
    "rejected_reward": (
        "rejected_reward",
        "rewards/rejected",
        "rejected_rewards",
        "reject_reward",
    ),
    "margin": ("margin", "rewards/margins", "reward_margin", "rewards/margin"),
    "accuracy": ("accuracy", "rewards/accuracies", "reward_accuracy", "rewards/accuracy", "acc"),
    "pair_mass": ("pair_mass",),
    "reward": ("reward", "score", "objective/scores", "objective/rlhf_reward"),
    "length": (
        "length",
        "tokens",
        "completions/mean_length",
        "completion_length",
        "response_length",
        "mean_length",
    ),
    "entropy": ("entropy", "objective/entropy", "policy/entropy"),
    "kl": ("kl", "objective/kl", "kl_divergence"),
    "lost_updates": ("lost_updates",),
    "ended": ("ended", "val/contain_eos_token", "completions/clipped_ratio"),
    "repetition": ("repetition",),
}
# Of those, the ones that are the share of the others.
_COMPLEMENTS = ("completions/clipped_ratio",)
# Of held-out data, after one of the prefixes.
HELD_OUT: dict[str, str] = {
    "loss": "held_out_loss",
    "accuracy": "held_out_accuracy",
    "margin": "held_out_margin",
    "reward": "held_out_reward",
}
_PREFIXES = ("eval_", "eval/", "held_out_", "test_", "validation_", "val_")

STEP = ("step", "global_step", "_step", "current_steps")
ITERATION = ("iteration",)
# Begin anew in each iteration, since they are relative to its proximal centre or its data.
RESTART = frozenset(
    {"loss", "margin", "accuracy", "chosen_reward", "rejected_reward", "pair_mass", "kl"}
)

# In words, in the order of a table.
LABELS: dict[str, str] = {
    "loss": "loss",
    "held_out_loss": "held-out loss",
    "margin": "margin of rewards",
    "held_out_margin": "held-out margin of rewards",
    "accuracy": "pairs in the right order",
    "held_out_accuracy": "held-out pairs in the right order",
    "chosen_reward": "reward of chosen responses",
    "rejected_reward": "reward of rejected responses",
    "chosen_log_prob": "log-probability of chosen, nats",
    "rejected_log_prob": "log-probability of rejected, nats",
    "pair_mass": "mass of both, log ratio in nats",
    "kl": "divergence, nats",
    "entropy": "entropy, nats",
    "length": "length, tokens",
    "ended": "responses that ended by themselves",
    "repetition": "phrases said again",
    "reward": "score",
    "held_out_reward": "held-out score",
    "gradient_norm": "norm of the gradient",
    "lost_updates": "updates lost to the dtype",
    "learning_rate": "learning rate",
}
# Of columns that share a panel of a picture.
SHORT_LABELS: dict[str, str] = {
    "loss": "training",
    "held_out_loss": "held out",
    "margin": "margin",
    "held_out_margin": "margin, held out",
    "accuracy": "pairs in order",
    "held_out_accuracy": "the same, held out",
    "chosen_reward": "chosen",
    "rejected_reward": "rejected",
    "chosen_log_prob": "chosen",
    "rejected_log_prob": "rejected",
    "ended": "ended by themselves",
    "repetition": "phrases said again",
    "reward": "training",
    "held_out_reward": "held out",
}

_KNOWN = {alias: name for name, aliases in TRAINING.items() for alias in aliases}


def canonical(name: str) -> str | None:
    """The name that a column has here; None for one that nothing is read from.

    Args:
        name: as a tool has it, with or without `train/` before it.

    Example:
        >>> canonical("rewards/margins"), canonical("eval_loss"), canonical("train/logps/chosen")
        ('margin', 'held_out_loss', 'chosen_log_prob')
        >>> canonical("logits/chosen")
    """
    plain = _plain(name)
    if plain in STEP:
        return "step"
    if plain in ITERATION:
        return "iteration"
    if plain in _KNOWN:
        return _KNOWN[plain]
    for prefix in _PREFIXES:
        if plain.startswith(prefix):
            return HELD_OUT.get(_KNOWN.get(plain.removeprefix(prefix), ""))
    return None


def is_complement(name: str) -> bool:
    """Whether a column holds one less the share that it stands for here.

    Example:
        >>> canonical("completions/clipped_ratio"), is_complement("completions/clipped_ratio")
        ('ended', True)
    """
    return _plain(name) in _COMPLEMENTS


def _plain(name: str) -> str:
    return name.strip().lower().removeprefix("train/")
