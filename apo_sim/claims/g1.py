"""G1: the linear rate of magnetic mirror descent."""

from typing import Any

from apo_sim.claims import _regularised as priced
from apo_sim.claims._linear import ARMS, STEPS, Rate, judged
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.loop import solve
from apo_sim.methods.magnetic_md import MagneticMD


@claim(
    id="G1",
    title="Linear rate of magnetic mirror descent",
    source="ours",
    statement=(
        r"Exact preferences, step $\eta \le 4a$, the magnet at $\pi_{\mathrm{ref}}$ and "
        r"$\pi_{t+1} \propto [\pi_t\,\pi_{\mathrm{ref}}^{\eta a} e^{\eta P(\cdot \succ \pi_t)}]"
        r"^{1/(1 + \eta a)}$: the last policy goes to the equilibrium $\pi^*_a$ of the game in "
        r"which either player pays $a\,\mathrm{KL}(\pi\|\pi_{\mathrm{ref}})$, "
        r"$$\mathrm{KL}(\pi^*_a\|\pi_t) \le (1 + \eta a)^{-t}\,"
        r"\mathrm{KL}(\pi^*_a\|\pi_{\mathrm{ref}}).$$"
    ),
    control=r"the rate of a strongly convex problem, $(1 + \eta a)^{-2t}$",
    scope=Scope(
        "for all",
        "random games, some certain, cyclic or transitive, references that leave an arm 1e-9, "
        "prices a from 0.05 to 5; games an adversary climbs to (K = 5)",
        arms=ARMS,
        iterations=f"every T up to {STEPS}",
        samples="exact",
    ),
)
def magnetic_rate(study: Study) -> Finding:
    r"""Judge KL(equilibrium, pi_t) <= (1 + eta a)^-t KL_0, and how long a step may really be.

    Problem: Theorem 3.4 of the source for a monotone operator of Lipschitz constant L asks for
    eta <= a / L^2. Win rates have L = 1/2 from total variation doubled (the dual pair of entropy)
    to the largest arm, as P - 1/2 lies in [-1/2, 1/2]; hence 4 a.

    Method: equilibria by Newton's method, certified. Random games; and an adversary that climbs to
    the slowest rate over 12 steps, also at longer steps.

    Guarantee: it is the theorem's. Nearly attained where the equilibrium is almost pure and the
    reference far from it: there the KL is linear in the logits and not quadratic. Close to an
    equilibrium the linearised win rates turn with +-i mu, and KL falls a step by
    (1 + eta^2 mu^2)/(1 + eta a)^2, which is the claim's factor at eta = a / mu^2; mu is at most
    cot(pi/2K)/(2K) on a regular cycle, below 1/pi, so that steps up to pi^2 a would pass there.

    Reference: Sokota et al. (2023), Theorem 3.4.

    Example:
        >>> round(float(RATE.factor(RATE.longest(0.5), 0.5)), 3)
        0.5
    """
    return judged(study, RATE)


def _left(game: priced.Games, step: Any, iterations: int) -> Any:
    method = MagneticMD(step, game.price)  # type: ignore[arg-type]
    problem = priced.as_game(game.preference, game.log_ref)
    path = solve(problem, method, iterations=iterations, save="path").log_policy
    assert path is not None
    return priced.divergence(game.log_equilibrium, path[:, 0])


RATE = Rate(
    left=_left,
    factor=lambda step, price: 1 / (1 + step * price),
    longest=lambda price: 4 * price,
    prices=(0.1, 0.3, 1.0),
    multiples=(1.0, 2.0, 2.5, 4.0),
)
