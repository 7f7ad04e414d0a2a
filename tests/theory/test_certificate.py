"""Certificates against independent optimisers, enumerated probabilities and simulated runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, optimize, stats

import apo_sim as apo
from apo_sim.errors import InvalidArgument
from apo_sim.preferences import draw_counts
from apo_sim.theory import likelihood_ball as ball
from apo_sim.theory.certificate import certify, surface

DELTA = 0.05


def counts(rng, arms, pairs, reward=None):
    """Win counts of pairs drawn uniformly, and the rewards behind them."""
    reward = rng.uniform(-1, 1, arms) if reward is None else reward
    odds = 1 / (1 + np.exp(reward[None, :] - reward[:, None]))
    meetings = rng.multinomial(pairs, np.full(arms**2, arms**-2.0)).reshape(arms, arms)
    won = rng.binomial(meetings, odds)
    return (won + (meetings - won).T).astype(float), reward


def loss(reward, wins):
    return float(np.sum(wins * np.logaddexp(0, reward[None, :] - reward[:, None])))


def loss_slope(reward, wins):
    lost = 1 / (1 + np.exp(reward[:, None] - reward[None, :]))
    return -np.sum(wins * lost, axis=1) + np.sum(wins * lost, axis=0)


def best_by_scipy(wins, policy, depth, bound):
    """The largest gap among rewards whose loss is at most `depth` above the least."""
    arms = len(policy)
    wins = wins * (1 - np.eye(arms))
    free = optimize.minimize(
        loss, np.zeros(arms), wins, jac=loss_slope, method="BFGS", options={"gtol": 1e-9}
    )
    most = free.fun + depth
    start = free.x - free.x.mean()
    start = start if np.isinf(bound) else np.clip(start, -0.9 * bound, 0.9 * bound)
    found = []
    for arm in range(arms):
        lead = np.eye(arms)[arm] - policy
        solved = optimize.minimize(
            lambda r, lead=lead: -lead @ r,
            start,
            jac=lambda _, lead=lead: -lead,
            method="SLSQP",
            bounds=None if np.isinf(bound) else [(-bound, bound)] * arms,
            constraints={
                "type": "ineq",
                "fun": lambda r: most - loss(r, wins),
                "jac": lambda r: -loss_slope(r, wins),
            },
            options={"ftol": 1e-13, "maxiter": 1000},
        )
        found.append(-solved.fun)
    return max(found)


@pytest.mark.parametrize("arms", [2, 3, 5])
@pytest.mark.parametrize("bound", [None, 1.0])
def test_it_is_the_optimum_that_scipy_finds(arms, bound):
    rng = np.random.default_rng(arms)
    for pairs in (300, 5000):
        wins, _ = counts(rng, arms, pairs)
        policy = rng.dirichlet(np.ones(arms))
        depth = stats.chi2.ppf(1 - DELTA, arms - 1) / 2
        limit = np.inf if bound is None else bound
        found = certify(wins[None], np.log(policy)[None], reward_bound=bound)
        assert found.bound == pytest.approx(best_by_scipy(wins, policy, depth, limit), abs=1e-6)
        depth = -ball.log_evidence(
            (wins * (1 - np.eye(arms)))[None], ball.fitted((wins * (1 - np.eye(arms)))[None])
        )[0] - np.log(DELTA)
        found = certify(wins[None], np.log(policy)[None], reward_bound=bound, finite_sample=True)
        assert found.bound == pytest.approx(best_by_scipy(wins, policy, depth, limit), abs=1e-6)


def log_evidence_of_two(won, lost):
    """By quadrature: the reward difference of a Gaussian prior is Gaussian, too."""
    fit = np.log(won / lost)
    base = won * np.log(won / (won + lost)) + lost * np.log(lost / (won + lost))

    def inside(z, scale):
        labels = -won * np.logaddexp(0, -z) - lost * np.logaddexp(0, z) - base
        return np.exp(labels) * stats.norm.pdf(z, scale=scale * np.sqrt(2))

    parts = [
        integrate.quad(inside, fit - 8, fit + 8, args=(s,), points=[fit], limit=400)[0]
        for s in ball.SCALES
    ]
    return np.log(np.mean(parts))


@pytest.mark.parametrize(("won", "lost"), [(3, 1), (30, 10), (700, 300), (40, 1)])
def test_the_evidence_is_a_lower_bound_and_a_close_one(won, lost):
    wins = np.array([[[0.0, won], [lost, 0.0]]])
    found = ball.log_evidence(wins, ball.fitted(wins))[0]
    exact = log_evidence_of_two(won, lost)
    # A nat is a few per cent of the radius.
    assert exact - 1.0 < found <= exact


@pytest.mark.parametrize("labels", [1, 4, 30, 200])
@pytest.mark.parametrize("lead", [0.0, 1.0, 3.0])
def test_the_finite_sample_likelihood_ratio_has_mean_at_most_one(labels, lead):
    won = np.arange(labels + 1.0)
    wins = np.zeros((labels + 1, 2, 2))
    wins[:, 0, 1], wins[:, 1, 0] = won, labels - won
    fit = ball.fitted(wins)
    true = np.tile([lead / 2, -lead / 2], (labels + 1, 1))
    against = ball.log_evidence(wins, fit) - ball.log_likelihood_ratio(true, wins, fit.rewards)
    chance = stats.binom.pmf(won, labels, 1 / (1 + np.exp(-lead)))
    assert 0 < chance @ np.exp(against) <= 1
    # So it rules out the truth with probability at most delta, counted exactly.
    assert chance @ (against > -np.log(DELTA)) <= DELTA


@pytest.fixture(scope="module")
def runs():
    """2,000 runs that choose their pairs by earlier labels: rewards, policies, win counts."""

    @jax.jit
    @jax.vmap
    def one(key):
        to_ref, to_reward, to_data = jax.random.split(key, 3)
        log_ref = apo.families.zipf_reference(to_ref, 1, 4, 1.0)
        bandit = apo.families.uniform_bandit(to_reward, log_ref=log_ref)
        rule = apo.Constant(0.3)
        solution = apo.run(
            bandit, momentum=rule, beta=0.2, iterations=2, samples=400, key=to_data, save="path"
        )
        wins = jnp.zeros((1, 4, 4))
        for t in range(2):
            draw = jax.random.fold_in(to_data, t)
            wins += draw_counts(draw, apo.Pairwise(), bandit, solution.path.behaviour[t], 400)
        return bandit.reward, solution.path.log_policy[1:], wins

    return [np.asarray(part) for part in one(jax.random.split(jax.random.key(0), 2000))]


def gaps_of(reward, log_policy):
    return reward[:, 0].max(axis=1) - np.sum(np.exp(log_policy[:, 0]) * reward[:, 0], axis=1)


@pytest.mark.parametrize(("finite_sample", "widest"), [(False, 0.3), (True, 0.6)])
def test_adaptive_runs_are_covered(runs, finite_sample, widest):
    reward, paths, wins = runs
    found = certify(wins, paths[:, 1], reward_bound=1.0, finite_sample=finite_sample)
    excess = found.bound - gaps_of(reward, paths[:, 1])
    missed = int(np.sum(excess < 0))
    assert stats.binomtest(missed, len(wins)).proportion_ci(0.99).high <= DELTA
    assert np.median(excess) < widest
    # So that the test could fail: the estimates alone are too low in many of the runs.
    assert np.mean(found.estimate < gaps_of(reward, paths[:, 1])) > 0.2


def test_every_policy_is_covered_at_once(runs):
    reward, paths, wins = (part[:300] for part in runs)
    others = np.eye(4) + 1e-6  # whoever looks at the labels, and plays the arm that seems best
    greedy = others[np.argmax(ball.fitted(wins[:, 0] * (1 - np.eye(4))).rewards, axis=1)]
    greedy = np.log(greedy / greedy.sum(axis=1, keepdims=True))[:, None]
    missed = np.zeros(300, bool)
    for policy in (paths[:, 0], paths[:, 1], greedy):
        missed |= certify(wins, policy, reward_bound=1.0).bound < gaps_of(reward, policy)
    assert missed.sum() <= stats.binom.ppf(0.99, 300, DELTA)


def test_the_asymptotic_ball_misses_the_truth_as_often_as_it_says(runs):
    # Neither more nor less: an error in the likelihood or in the quantile would show.
    reward, _, wins = runs
    wins = wins[:, 0] * (1 - np.eye(4))
    fit = ball.fitted(wins)
    ratio = ball.log_likelihood_ratio(reward[:, 0], wins, fit.rewards)
    missed = np.mean(ratio < -stats.chi2.ppf(1 - DELTA, 3) / 2)
    assert abs(missed - DELTA) < 4 * np.sqrt(DELTA * (1 - DELTA) / 2000)


@pytest.mark.parametrize("finite_sample", [False, True])
def test_an_arm_that_was_never_seen_costs_its_mass_times_the_range(finite_sample):
    wins = np.zeros((1, 3, 3))
    wins[0, 0, 1], wins[0, 1, 0] = 5e7, 5e7
    policy = np.log([[0.5, 0.25, 0.25]])
    assert certify(wins, policy, finite_sample=finite_sample).bound == np.inf
    found = certify(wins, policy, reward_bound=1.0, finite_sample=finite_sample)
    # The unseen arm may lead both others, which are alike, by the whole range.
    assert found.bound == pytest.approx(1.5, abs=1e-3)
    assert found.arm.tolist() == [2]


def test_an_arm_that_never_won_is_not_taken_for_hopeless():
    wins = np.array([[[0.0, 60.0, 3.0], [40.0, 0.0, 2.0], [0.0, 0.0, 0.0]]])
    policy = np.log([[0.9, 0.09, 0.01]])
    # It may be infinitely bad, and the policy plays it.
    assert certify(wins, policy).bound == np.inf
    narrow = certify(wins, policy, reward_bound=1.0).bound
    wide = certify(wins, policy, reward_bound=3.0).bound
    assert 0 < narrow < wide < 6.0


def test_no_label_leaves_the_range():
    found = certify(np.zeros((1, 4, 4)), np.full((1, 4), -np.log(4)), reward_bound=0.5)
    assert found.bound == pytest.approx(0.75, abs=1e-6)
    assert certify(np.zeros((1, 4, 4)), np.full((1, 4), -np.log(4))).radius == np.inf


@pytest.mark.parametrize("finite_sample", [False, True])
def test_a_true_gap_at_the_corner_of_the_box_is_not_cut_off(finite_sample):
    rng, runs, rare = np.random.default_rng(7), 60, 1e-8
    reward = np.where(np.arange(10) == 0, 1.0, -1.0)
    wins = np.stack([counts(rng, 10, 90, reward)[0] for _ in range(runs)])
    policy = np.full((runs, 1, 10), rare)
    policy[:, 0, 1] = 1 - 9 * rare
    found = certify(wins[:, None], np.log(policy), reward_bound=1.0, finite_sample=finite_sample)
    fit = ball.fitted(off_diagonal := wins * (1 - np.eye(10)))
    true = ball.log_likelihood_ratio(np.tile(reward, (runs, 1)), off_diagonal, fit.rewards)
    inside = true >= surface(off_diagonal, fit, DELTA, finite_sample)
    assert inside.sum() > 40
    # No gap is larger; an optimiser that is careless with the rare arms stops 1e-7 short of it.
    gap = gaps_of(np.tile(reward, (runs, 1, 1)), np.log(policy))
    excess = (found.bound - gap)[inside]
    assert excess.min() >= 0.0 and excess.max() < 1e-8


def test_a_hundred_times_the_labels_give_a_tenth_of_the_radius():
    wins, _ = counts(np.random.default_rng(3), 4, 50_000)
    policy = np.full((1, 4), -np.log(4))
    few, many = certify(wins[None], policy), certify(100 * wins[None], policy)
    assert few.estimate == pytest.approx(many.estimate, abs=1e-5)
    assert few.radius / many.radius == pytest.approx(10, rel=0.03)
    proven = certify(wins[None], policy, finite_sample=True)
    assert few.radius < proven.radius < 3 * few.radius


def test_a_trillion_labels_are_no_problem():
    reward = np.array([0.5, 0.0, -0.5])
    wins = 1e12 / 9 / (1 + np.exp(reward[None, :] - reward[:, None]))
    found = certify(wins[None], np.log([[0.2, 0.3, 0.5]]), reward_bound=1.0, finite_sample=True)
    assert found.estimate == pytest.approx(0.65, abs=1e-5)
    assert 1e-6 < found.radius < 1e-4


def test_contexts_share_delta_and_add_up():
    rng = np.random.default_rng(4)
    wins = np.stack([counts(rng, 3, 2000)[0] for _ in range(2)])
    policy = np.log(rng.dirichlet(np.ones(3), 2))
    both = certify(wins, policy, context_probs=[0.25, 0.75], delta=0.1)
    each = [certify(wins[[x]], policy[[x]], delta=0.05) for x in range(2)]
    assert both.bounds == pytest.approx([one.bound for one in each])
    assert both.bound == pytest.approx(0.25 * each[0].bound + 0.75 * each[1].bound)
    assert both.bound == pytest.approx(both.estimate + both.radius)
    # A context that never comes up may be as unknown as it likes.
    wins[0] = 0
    known = certify(wins, policy, context_probs=[0.0, 1.0], delta=0.1)
    assert known.bounds[0] == np.inf
    assert known.bound == pytest.approx(each[1].bound)


def test_a_batch_of_runs_is_certified_like_each_of_them():
    rng = np.random.default_rng(5)
    wins = np.stack([counts(rng, 3, 400)[0] for _ in range(4)]).reshape(2, 2, 3, 3)
    policy = np.log(rng.dirichlet(np.ones(3), (2, 2)))
    found = certify(wins, policy, reward_bound=2.0)
    assert found.bounds.shape == (2, 2)
    assert found.bound.shape == (2,)
    one = certify(wins[1], policy[1], reward_bound=2.0)
    assert found.bounds[1] == pytest.approx(one.bounds, abs=1e-9)


def test_it_does_not_depend_on_the_precision_of_jax():
    wins, _ = counts(np.random.default_rng(6), 3, 2000)
    policy = np.log([[0.2, 0.3, 0.5]])
    double = certify(wins[None], policy).bound
    with jax.enable_x64(False):
        single = certify(jnp.asarray(wins)[None], jnp.asarray(policy)).bound
    assert single == pytest.approx(double, rel=1e-6)


GOOD = {"wins": np.ones((1, 2, 2)), "log_policy": np.log([[0.5, 0.5]])}


@pytest.mark.parametrize(
    ("given", "argument"),
    [
        ({"wins": np.ones((2, 2))}, "wins"),
        ({"wins": np.ones((1, 2, 3))}, "wins"),
        ({"wins": np.ones((1, 1, 1))}, "wins"),
        ({"wins": -np.ones((1, 2, 2))}, "wins"),
        ({"wins": np.full((1, 2, 2), np.nan)}, "wins"),
        ({"wins": np.full((1, 2, 2), 1e30)}, "wins"),
        ({"wins": "labels"}, "wins"),
        ({"wins": np.ones((5, 1, 2, 2))}, "log_policy"),
        ({"log_policy": np.log([[0.5, 0.4]])}, "log_policy"),
        ({"log_policy": np.log([0.5, 0.5])}, "log_policy"),
        ({"log_policy": np.array([[0.0, -np.inf]])}, "log_policy"),
        ({"delta": 0.0}, "delta"),
        ({"delta": 1.0}, "delta"),
        ({"context_probs": [0.5]}, "context_probs"),
        ({"context_probs": [0.5, 0.5]}, "context_probs"),
        ({"reward_bound": 0.0}, "reward_bound"),
        ({"reward_bound": 1e-200}, "reward_bound"),
        ({"reward_bound": 1e9}, "reward_bound"),
        ({"finite_sample": 1}, "finite_sample"),
    ],
)
def test_bad_input_is_named(given, argument):
    with pytest.raises(InvalidArgument) as error:
        certify(**{**GOOD, **given})
    assert error.value.argument == argument


def test_traced_counts_are_refused_by_name():
    with pytest.raises(InvalidArgument, match=r"wins .* is traced"):
        jax.jit(lambda wins: certify(wins, GOOD["log_policy"]).bound)(GOOD["wins"])


@pytest.mark.parametrize("finite_sample", [False, True])
def test_a_reward_bound_that_the_labels_refute_is_refused(finite_sample):
    wins = np.array([[[0.0, 900.0], [100.0, 0.0]]])
    with pytest.raises(InvalidArgument, match=r"reward_bound = 0.5 is refuted"):
        certify(wins, GOOD["log_policy"], reward_bound=0.5, finite_sample=finite_sample)
