"""TRL's losses as functions of log-probabilities, run inside TRL's own trainers.

A trainer is asked for nothing but its loss: the model is a stand-in that returns given
log-probabilities, and what the trainer logs is thrown away.
"""

import functools
import importlib
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from apo_sim.errors import MissingExtra, UnknownName

Function = Callable[..., Any]

# Names of losses here: trainer, its loss type, and what else is set.
_DPO = {
    "dpo": {"loss_types": ["sigmoid"]},
    **{
        name: {"loss_types": [name]}
        for name in (
            *("sigmoid_norm", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair"),
            *("sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft"),
        )
    },
    "f_forward_kl": {"loss_types": ["sigmoid"], "f_divergence_type": "forward_kl"},
    "f_js": {"loss_types": ["sigmoid"], "f_divergence_type": "js_divergence"},
    "f_alpha": {"loss_types": ["sigmoid"], "f_divergence_type": "alpha_divergence"},
}
_KTO = ("kto", "apo_zero_unpaired")
_CPO = {"cpo": "sigmoid", "cpo_hinge": "hinge", "cpo_ipo": "ipo", "simpo": "simpo"}
_TPO = {"tpo": "sigmoid", "tpo_hinge": "hinge", "tpo_ipo": "ipo", "tpo_l": "tpo-l"}
_ONLINE = {"online_dpo": "sigmoid", "online_ipo": "ipo"}
NAMES = (*_DPO, *_KTO, *_CPO, "orpo", *_TPO, *_ONLINE)


def version() -> str:
    """The version of TRL that is installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(_import("trl").__version__)


def loss(name: str) -> Function:
    """One of TRL's losses, with TRL's names and defaults of its parameters.

    It takes what it needs of the log-probabilities and lengths that `identify` knows, and returns
    one number: the mean of a batch, of KTO the mean over pairs of the sum of both halves.

    Args:
        name: dpo (`sigmoid`) and TRL's names of the other loss types of its DPOTrainer;
            f_forward_kl, f_js and f_alpha for its f-divergences; kto, apo_zero_unpaired; cpo,
            cpo_hinge, cpo_ipo and simpo; orpo; tpo, tpo_hinge, tpo_ipo, tpo_l; online_dpo,
            online_ipo.

    Raises:
        InvalidArgument: a name that is unknown.
        MissingExtra: TRL is not installed.

    Example:
        >>> loss("dpq")
        Traceback (most recent call last):
        ...
        apo_sim.errors.UnknownName: loss = 'dpq' is unknown; did you mean 'dpo'?
    """
    if name not in NAMES:
        raise UnknownName("loss", name, NAMES)
    version()
    if name in _DPO:
        return _of_dpo(_DPO[name])
    if name in _KTO:
        return _of_kto(name)
    if name in _CPO:
        return _of_cpo(_CPO[name])
    if name in _TPO:
        return _of_tpo(_TPO[name])
    return _of_online(_ONLINE[name]) if name in _ONLINE else _of_orpo()


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra("a loss of TRL", [error.name or module], "bench") from error


def _trainer(module: str, name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of imports, and of what TRL calls experimental
        return getattr(_import(f"trl.{module}"), name)


def _same(value: Any) -> Any:
    return value


def _self(**fields: Any) -> SimpleNamespace:
    """What a trainer's method reads of its trainer."""
    torch = _import("torch")
    accelerator = SimpleNamespace(
        device=torch.device("cpu"), gather=_same, gather_for_metrics=_same, backward=_same
    )
    usual = {
        "accelerator": accelerator,
        "model": SimpleNamespace(training=True),
        "aux_loss_enabled": False,
        "use_weighting": False,
        "ld_alpha": None,
        "precompute_ref_logps": True,
        "_metrics": {"train": defaultdict(list)},
        "_total_train_tokens": 0,
        "_tp_size": 1,
    }
    return SimpleNamespace(**{**usual, **fields})


def _tokens(lengths: Any) -> Any:
    """Which tokens are the response's, behind one of a prompt: shape (rows, longest + 1)."""
    torch = _import("torch")
    longest = int(lengths.max())
    inside = torch.arange(longest)[None] < lengths[:, None]
    return torch.cat([torch.zeros_like(inside[:, :1]), inside], dim=1).long()


def _per_token(total: Any, mask: Any) -> Any:
    """Log-probabilities of tokens whose sum is given, the same for each token."""
    inside = mask[:, 1:].to(total.dtype)
    return total[:, None] * inside / inside.sum(dim=1, keepdim=True)


class _Model:
    """Returns log-probabilities that it was given, by the shape of what goes in."""

    def __init__(self, **log_probs: Any):
        self.log_probs = log_probs

    def __call__(self, input_ids: Any, **_: Any) -> SimpleNamespace:
        torch = _import("torch")
        which = "kl" if bool((input_ids == 1).all()) else "policy"
        found = self.log_probs[which] * 1.0  # computed here: a trainer may ask for no gradient
        nothing = torch.zeros_like(found)
        return SimpleNamespace(
            log_probs=found,
            entropy=nothing,
            mean_logits=nothing,
            is_top1=nothing.bool(),
            log_sum_sq_probs=nothing,
        )


def _of_dpo(settings: Mapping[str, Any]) -> Function:
    trainer = _trainer("trainer.dpo_trainer", "DPOTrainer")

    def compute(
        policy_chosen_logps: Any,
        policy_rejected_logps: Any,
        ref_chosen_logps: Any,
        ref_rejected_logps: Any,
        chosen_lengths: Any,
        rejected_lengths: Any,
        **changed: Any,
    ) -> Any:
        torch = _import("torch")
        mask = _tokens(torch.cat([chosen_lengths, rejected_lengths]))
        total = torch.cat([policy_chosen_logps, policy_rejected_logps])
        inputs = {
            "input_ids": torch.zeros_like(mask),
            "attention_mask": torch.ones_like(mask),
            "completion_mask": mask,
            "ref_chosen_logps": ref_chosen_logps,
            "ref_rejected_logps": ref_rejected_logps,
        }
        given = {"f_divergence_type": "reverse_kl", "loss_weights": [1.0], **settings, **changed}
        args = SimpleNamespace(discopop_tau=given.pop("discopop_tau", 0.05))
        this = _self(args=args, f_alpha_divergence_coef=given.pop("coef", 0.5), **given)
        return trainer._compute_loss(this, _Model(policy=_per_token(total, mask)), inputs, False)

    def plain(
        policy_chosen_logps: Any,
        policy_rejected_logps: Any,
        ref_chosen_logps: Any,
        ref_rejected_logps: Any,
        chosen_lengths: Any,
        rejected_lengths: Any,
        beta: float = 0.1,
        label_smoothing: float = 0.0,
    ) -> Any:
        return compute(
            *(policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps),
            *(chosen_lengths, rejected_lengths),
            beta=beta,
            label_smoothing=label_smoothing,
        )

    def with_coefficient(
        policy_chosen_logps: Any,
        policy_rejected_logps: Any,
        ref_chosen_logps: Any,
        ref_rejected_logps: Any,
        chosen_lengths: Any,
        rejected_lengths: Any,
        beta: float = 0.1,
        f_alpha_divergence_coef: float = 0.5,
    ) -> Any:
        return compute(
            *(policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps),
            *(chosen_lengths, rejected_lengths),
            beta=beta,
            label_smoothing=0.0,
            coef=f_alpha_divergence_coef,
        )

    alpha = settings.get("f_divergence_type") == "alpha_divergence"
    return with_coefficient if alpha else plain


def _of_kto(loss_type: str) -> Function:
    trainer = _trainer("trainer.kto_trainer", "KTOTrainer")
    anchored = loss_type == "kto"

    def compute(
        policy_chosen_logps: Any,
        policy_rejected_logps: Any,
        ref_chosen_logps: Any,
        ref_rejected_logps: Any,
        policy_kl_logps: Any,
        ref_kl_logps: Any,
        beta: float = 0.1,
        desirable_weight: float = 1.0,
        undesirable_weight: float = 1.0,
    ) -> Any:
        torch = _import("torch")
        pairs = len(policy_chosen_logps)
        mask = _tokens(torch.ones(2 * pairs))
        other = _tokens(torch.ones(pairs))
        model = _Model(
            policy=torch.cat([policy_chosen_logps, policy_rejected_logps])[:, None],
            kl=policy_kl_logps[:, None],
        )
        batch = {
            "input_ids": torch.zeros_like(mask),
            "attention_mask": torch.ones_like(mask),
            "completion_mask": mask,
            "KL_input_ids": torch.ones_like(other),
            "KL_attention_mask": torch.ones_like(other),
            "KL_completion_mask": other,
            "label": torch.arange(2 * pairs) < pairs,
            "ref_logps": torch.cat([ref_chosen_logps, ref_rejected_logps]),
            "ref_KL_logps": ref_kl_logps,
        }
        this = _self(
            loss_type=loss_type,
            calculate_KL=anchored,
            beta=beta,
            desirable_weight=desirable_weight,
            undesirable_weight=undesirable_weight,
        )
        this._compute_kl_logps = functools.partial(trainer._compute_kl_logps, this)
        # TRL's is the mean over responses.
        return 2.0 * trainer._compute_loss(this, model, batch, False)

    return compute


def _of_cpo(loss_type: str) -> Function:
    trainer = _trainer("experimental.cpo.cpo_trainer", "CPOTrainer")
    mean = loss_type in ("ipo", "simpo")  # as CPOTrainer.concatenated_forward has it

    def with_margin(
        policy_chosen_logps: Any,
        policy_rejected_logps: Any,
        chosen_lengths: Any,
        rejected_lengths: Any,
        beta: float = 0.1,
        label_smoothing: float = 0.0,
        simpo_gamma: float = 0.5,
    ) -> Any:
        won, lost = policy_chosen_logps, policy_rejected_logps
        if mean:
            won, lost = won / chosen_lengths, lost / rejected_lengths
        this = _self(
            loss_type=loss_type,
            alpha=0.0,
            beta=beta,
            label_smoothing=label_smoothing,
            simpo_gamma=simpo_gamma,
        )
        return trainer.cpo_loss(this, won, lost)[0].mean()

    return with_margin if loss_type == "simpo" else _without_margin(with_margin)


def _without_margin(loss: Function) -> Function:
    """A loss that has no use for its last argument, TRL says."""

    def plain(
        policy_chosen_logps: Any,
        policy_rejected_logps: Any,
        chosen_lengths: Any,
        rejected_lengths: Any,
        beta: float = 0.1,
        label_smoothing: float = 0.0,
    ) -> Any:
        given = (policy_chosen_logps, policy_rejected_logps, chosen_lengths, rejected_lengths)
        return loss(*given, beta, label_smoothing)

    return plain


def _of_orpo() -> Function:
    trainer = _trainer("experimental.orpo.orpo_trainer", "ORPOTrainer")

    def compute(
        policy_chosen_logps: Any,
        policy_rejected_logps: Any,
        chosen_lengths: Any,
        rejected_lengths: Any,
        beta: float = 0.1,
    ) -> Any:
        won, lost = policy_chosen_logps / chosen_lengths, policy_rejected_logps / rejected_lengths
        # As ORPOTrainer.get_batch_loss_metrics has it, without the winner's likelihood.
        return -trainer.odds_ratio_loss(_self(beta=beta), won, lost)[0].mean()

    return compute


def _of_tpo(loss_type: str) -> Function:
    trainer = _trainer("experimental.tpo.tpo_trainer", "TPOTrainer")

    def with_margin(
        policy_chosen_logps: Any,
        policy_rejected_logps: Any,
        chosen_lengths: Any,
        rejected_lengths: Any,
        beta: float = 0.1,
        label_smoothing: float = 0.0,
        tpo_l_gamma: float = 0.5,
    ) -> Any:
        torch = _import("torch")
        mask = _tokens(torch.cat([chosen_lengths, rejected_lengths]))
        total = torch.cat([policy_chosen_logps, policy_rejected_logps])
        tokens = _per_token(total, mask)
        inside = mask[:, 1:].bool()
        # Of two tokens, the first of which has the probability that is given.
        safe = torch.where(inside, tokens, torch.full_like(tokens, -1.0))
        two = torch.stack([safe, torch.log(-torch.expm1(safe))], dim=-1)
        logits = torch.cat([two, torch.zeros_like(two[:, :1])], dim=1)
        inputs = {
            "input_ids": torch.zeros_like(mask),
            "attention_mask": torch.ones_like(mask),
            "completion_mask": mask,
        }
        this = _self(
            loss_type=loss_type,
            tpo_alpha=0.0,
            beta=beta,
            label_smoothing=label_smoothing,
            tpo_l_gamma=tpo_l_gamma,
        )
        return trainer._compute_loss(
            this, lambda **_: SimpleNamespace(logits=logits), inputs, False
        )

    return with_margin if loss_type == "tpo-l" else _without_margin(with_margin)


def _of_online(loss_type: str) -> Function:
    trainer = _trainer("experimental.online_dpo.online_dpo_trainer", "OnlineDPOTrainer")

    def compute(
        policy_chosen_logps: Any,
        policy_rejected_logps: Any,
        ref_chosen_logps: Any,
        ref_rejected_logps: Any,
        chosen_lengths: Any,
        rejected_lengths: Any,
        beta: float = 0.1,
    ) -> Any:
        torch = _import("torch")
        pairs = len(policy_chosen_logps)
        mask = _tokens(torch.cat([chosen_lengths, rejected_lengths]))
        policy = _per_token(torch.cat([policy_chosen_logps, policy_rejected_logps]), mask)
        reference = _per_token(torch.cat([ref_chosen_logps, ref_rejected_logps]), mask)
        kept: list[Any] = []
        model = SimpleNamespace(train=lambda: None)
        better = torch.cat([torch.ones(pairs), torch.zeros(pairs)])
        args = SimpleNamespace(
            use_vllm=False,
            missing_eos_penalty=None,
            loss_type=loss_type,
            torch_empty_cache_steps=None,
            optim=None,
            n_gpu=1,
            gradient_accumulation_steps=1,
        )
        this = _self(
            args=args,
            beta=beta,
            ref_model="reference",
            eos_token_ids=[0],
            reward_funcs=None,
            stats=defaultdict(list),
            processing_class=SimpleNamespace(batch_decode=lambda ids, **_: [""] * len(ids)),
        )
        this.accelerator.backward = kept.append
        completion = mask[:, 1:]
        this._generate = lambda *_: (mask[:, :1], mask[:, :1], completion, completion, None)
        this._forward = lambda which, *_: reference if which == "reference" else policy
        this._calculate_rewards_from_functions = lambda **_: better
        trainer.training_step(this, model, {"prompt": [""] * pairs})
        return kept[0]

    return compute
