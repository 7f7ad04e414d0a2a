"""Python that shows an effect on a table, in seconds: what a diagnosis means, to play with.

Each prints what it finds and leaves it in `shown`.
"""

from apo_sim.explain.diagnosis import Effect

_TRAIN = """\
import jax, jax.numpy as jnp, numpy as np
import apo_sim as apo
from apo_sim.policies import LogLinear
from apo_sim.proximal.by_gradient import ByGradient
"""
_RUN = """\
import jax.numpy as jnp, numpy as np
import apo_sim as apo
"""

COMMANDS: dict[Effect, str] = {
    Effect.DIVERGED: _TRAIN
    + """
# The squared loss of IPO, and steps beyond twice the inverse of its curvature.
bandit = apo.Bandit(jnp.array([[1.0, 0.0, 0.0]]), jnp.log(jnp.array([[0.4, 0.4, 0.2]])))
policy = LogLinear(jnp.array([[[1.0], [0.8], [5.0]]]))
try:
    apo.train(bandit, policy, apo.IPO(), beta=1.0, iterations=1, key=jax.random.key(0),
              step=ByGradient(apo.SGD(100.0), steps=20))
except apo.methods.TrainingDiverged as error:
    shown = str(error)
    print(shown)
""",
    Effect.DEAD_LEARNING_RATE: _TRAIN
    + """
# Twenty steps of RMSProp at three rates: the total variation that each moves the policy by.
bandit = apo.Bandit(jnp.array([[1.0, 0.0, 0.0]]), jnp.log(jnp.array([[0.4, 0.4, 0.2]])))
policy, shown = LogLinear(jnp.eye(3)[None]), {}
for rate in (5e-7, 1e-3, 1e-1):
    found = apo.train(bandit, policy, beta=0.1, iterations=1, key=jax.random.key(0),
                      step=ByGradient(apo.RMSProp(rate), steps=20))
    moved = np.exp(found.final_log_policy) - np.exp(bandit.log_ref)
    shown[rate] = float(0.5 * np.abs(moved).sum())
print(shown)
""",
    Effect.LOST_UPDATES: """\
import jax.numpy as jnp, numpy as np

# A thousand steps of 5e-7 on weights of the usual size, kept in 8 bits and in 24.
weights = 0.02 * np.random.default_rng(0).normal(size=1000)
shown = {}
for dtype in ("bfloat16", "float32"):
    kept = before = jnp.asarray(weights, dtype)
    for _ in range(1000):
        kept = kept + jnp.asarray(5e-7, dtype)
    moved = (kept.astype("float32") - before.astype("float32")).mean()
    shown[dtype] = float(moved) / 5e-4
print("share of the way that is made:", shown)
""",
    Effect.BETA_HARDLY_COUNTS: _TRAIN
    + """
# Log-ratio of the first arm to the second after so many steps of RMSProp, at three betas.
bandit = apo.Bandit(jnp.array([[1.0, 0.0, 0.0]]), jnp.log(jnp.array([[0.4, 0.4, 0.2]])))
policy, shown = LogLinear(jnp.eye(3)[None]), {}
for steps in (20, 2000):
    for beta in (0.05, 0.1, 0.2):
        found = apo.train(bandit, policy, beta=beta, iterations=1, key=jax.random.key(0),
                          step=ByGradient(apo.RMSProp(0.01, decay=0.99), steps=steps))
        ratio = found.final_log_policy[0] - bandit.log_ref[0]
        shown[steps, beta] = float(ratio[0] - ratio[1])
print(shown)  # the same for every beta after few steps, 1 / beta after many
""",
    Effect.SATURATED_LOSS: _TRAIN
    + """
# Labels without noise (a reward gap of 30): pairs cease to pull, and the log-ratio knows no end.
bandit = apo.Bandit(jnp.array([[30.0, 0.0, 0.0]]), jnp.log(jnp.array([[0.4, 0.4, 0.2]])))
policy, shown = LogLinear(jnp.eye(3)[None]), {}
for steps in (20, 2000):
    found = apo.train(bandit, policy, beta=1.0, iterations=1, key=jax.random.key(0),
                      step=ByGradient(apo.RMSProp(0.01, decay=0.99), steps=steps))
    ratio = found.final_log_policy[0] - bandit.log_ref[0]
    ratio = float(ratio[0] - ratio[1])
    shown[steps] = float(1.0 / (1.0 + np.exp(ratio))), ratio
print(shown)  # steps: (weight of a pair in the gradient, log-ratio of its winner to its loser)
""",
    Effect.DISPLACEMENT: _TRAIN
    + """
# The two arms that are judged have nearly the same feature; the third, hardly ever drawn, is far
# out in the direction in which they differ.
bandit = apo.Bandit(jnp.array([[1.0, 0.0, 0.0]]), jnp.log(jnp.array([[0.4995, 0.4995, 0.001]])))
policy = LogLinear(jnp.array([[[1.0], [0.8], [5.0]]]))
found = apo.train(bandit, policy, beta=0.1, iterations=1, key=jax.random.key(0),
                  step=ByGradient(apo.RMSProp(0.01, decay=0.99), steps=300))
shown = np.asarray(found.final_log_policy[0] - bandit.log_ref[0])
print("log-ratio of chosen, rejected and the unjudged arm:", shown)
""",
    Effect.LENGTH_DRIFT: _RUN
    + """
# Eight responses of 10 to 80 tokens, equally good; the ranker likes each ten tokens by a tenth.
lengths = 10.0 * jnp.arange(1, 9)
bandit = apo.Bandit((0.01 * lengths)[None], jnp.full((1, 8), -jnp.log(8.0)))
path = apo.run(bandit, beta=0.2, iterations=20, save="path").kept.log_policy
shown = np.asarray(jnp.exp(path[:, 0]) @ lengths)
print("mean length:", shown)
""",
    Effect.ENTROPY_COLLAPSE: _RUN
    + """
# Eight responses; iterating adds reward / beta each time, and nothing draws back.
reward = jnp.linspace(0.0, 1.0, 8)
bandit = apo.Bandit(reward[None], jnp.full((1, 8), -jnp.log(8.0)))
path = apo.run(bandit, beta=0.1, iterations=20, save="path").kept.log_policy[:, 0]
shown = np.asarray(-(jnp.exp(path) * path).sum(axis=-1))
print("entropy:", shown)
""",
    Effect.KL_EXPLOSION: _RUN
    + """
# The best of eight responses is one in e^30: a small beta goes there in a few iterations.
log_ref = jnp.array([0.0] * 7 + [-30.0])
log_ref = (log_ref - jnp.log(jnp.exp(log_ref).sum()))[None]
bandit = apo.Bandit(jnp.array([[0.0] * 7 + [1.0]]), log_ref)
path = apo.run(bandit, beta=0.1, iterations=20, save="path").kept.log_policy[:, 0]
shown = np.asarray((jnp.exp(path) * (path - log_ref)).sum(axis=-1))
print("KL divergence from the reference, in nats:", shown)
""",
    Effect.OVER_OPTIMISATION: _RUN
    + """
# A reward with noise is iterated on; the true one rises, and falls when the noise decides.
true = jnp.linspace(0.0, 1.0, 8)
proxy = true + jnp.array([0.0] * 4 + [0.9] + [0.0] * 3)
bandit = apo.Bandit(proxy[None], jnp.full((1, 8), -jnp.log(8.0)))
path = jnp.exp(apo.run(bandit, beta=2.0, iterations=20, save="path").kept.log_policy[:, 0])
shown = np.asarray(path @ proxy), np.asarray(path @ true)
print("reward that is optimised:", shown[0])
print("true reward:", shown[1])
""",
}
