"""G2: the linear rate of extragradient preference optimisation."""

from typing import Any

from apo_sim.claims import _regularised as priced
from apo_sim.claims._linear import ARMS, STEPS, Rate, judged
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.loop import solve
from apo_sim.methods.egpo import EGPO


@claim(
    id="G2",
    title="Linear rate of EGPO",
    source="ours",
    statement=(
        r"Exact preferences, $\eta \le 1/(b + 3)$, $\pi_0 = \pi_{\mathrm{ref}}$, and a full step "
        r"$\pi_{t+1} \propto \pi_t^{1 - \eta b}\,\pi_{\mathrm{ref}}^{\eta b} e^{\eta P(\cdot \succ "
        r"\pi_{t+1/2})}$ after a half step to $\pi_{t+1/2}$ by the win rates against $\pi_t$: the "
        r"last policy goes to the equilibrium $\pi^*_b$ of the game in which either player pays "
        r"$b\,\mathrm{KL}(\pi\|\pi_{\mathrm{ref}})$, "
        r"$$\mathrm{KL}(\pi^*_b\|\pi_t) \le (1 - \eta b)^t\,"
        r"\mathrm{KL}(\pi^*_b\|\pi_{\mathrm{ref}}).$$"
    ),
    control=r"the rate of a strongly convex problem, $(1 - \eta b)^{2t}$",
    scope=Scope(
        "for all",
        "random games, some certain, cyclic or transitive, references that leave an arm 1e-9, "
        "prices b from 0.05 to 5; games an adversary climbs to (K = 5)",
        arms=ARMS,
        iterations=f"every number of full steps up to {STEPS}",
        samples="exact",
    ),
)
def extragradient_rate(study: Study) -> Finding:
    r"""Judge KL(equilibrium, pi_t) <= (1 - eta b)^t KL_0, and how long a step may really be.

    Problem: a look ahead makes the longest step independent of the price, where a plain one has
    eta <= 4 a (G1); it costs data of two policies, so that t steps are 2 t iterations here.

    Method: equilibria by Newton's method, certified. Random games; and an adversary that climbs to
    the slowest rate over 12 full steps, also at longer steps.

    Guarantee: it is the theorem's. Nearly attained as in G1. Close to an equilibrium whose
    linearised win rates turn with +-i mu, mu at most 1/pi, KL falls a step by 1 - x + x^2,
    x = (eta mu)^2, times the price's share: so as b goes to 0 steps up to 1/mu, some 3 and not
    1/3, would pass there.

    Reference: Zhou, Fazel and Du (2025).

    Example:
        >>> round(float(RATE.factor(RATE.longest(1.0), 1.0)), 3)
        0.75
    """
    return judged(study, RATE)


def _left(game: priced.Games, step: Any, iterations: int) -> Any:
    method = EGPO(step, step * game.price)  # type: ignore[arg-type]
    problem = priced.as_game(game.preference, game.log_ref)
    path = solve(problem, method, iterations=2 * iterations, save="path").log_policy
    assert path is not None
    return priced.divergence(game.log_equilibrium, path[::2, 0])


RATE = Rate(
    left=_left,
    factor=lambda step, price: 1 - step * price,
    longest=lambda price: 1 / (price + 3),
    prices=(0.05, 0.1, 0.2),
    multiples=(1.0, 3.0, 6.0, 9.0, 12.0),
)
