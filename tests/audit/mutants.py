"""Mistakes that a tired person could make in the loop and in the theory, and who sees them.

Run as a script, this module prints them as a table.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A mistake, made in the text of the package.

    Attributes:
        name: what went wrong.
        file: of the package, relative to it.
        original: what it says, exactly once.
        replacement: what it would say.
        caught_by: "file::test" of this folder, each of which must fail; a test that is
            parametrised fails if any of its cases does.
    """

    name: str
    file: str
    original: str
    replacement: str
    caught_by: tuple[str, ...]


MUTANTS = (
    Mutant(
        "the sign of alpha",
        "momentum/rule.py",
        "lambda n, o: n + weight * (n - o), new, old",
        "lambda n, o: n - weight * (n - o), new, old",
        ("test_weights.py::test_run_follows_algorithm_1",),
    ),
    Mutant(
        "metrics after the extrapolation",
        "methods/on_table.py",
        'if self.output == "after":',
        'if self.output != "after":',
        ("test_exact_preferences.py::test_gap_over_contexts",),
    ),
    Mutant(
        "policies without the normaliser",
        "geometry/kl.py",
        "return shifted - jnp.log(total)[..., None], weights, total",
        "return shifted, weights, total",
        ("test_weights.py::test_momentum_is_a_smaller_beta_on_bandits",),
    ),
    Mutant(
        "every update at beta_0",
        "methods/proximal.py",
        "betas[t - self.first] if betas.ndim else betas",
        "betas[0] if betas.ndim else betas",
        ("test_weights.py::test_momentum_is_a_smaller_beta_on_bandits",),
    ),
    Mutant(
        "the same data in every update",
        "loop.py",
        "jax.random.fold_in(key, state.t)",
        "jax.random.fold_in(key, 0)",
        ("test_statistics.py::test_law_of_a_run",),
    ),
    Mutant(
        "P(y' > y) in place of P(y > y')",
        "problems.py",
        '"""P(y > policy | x) for every arm y."""\n        return jnp.einsum("xij,xj->xi"',
        '"""P(y > policy | x) for every arm y."""\n        return jnp.einsum("xji,xj->xi"',
        ("test_weights.py::test_run_follows_algorithm_1",),
    ),
    Mutant(
        "winner and loser swapped in the win counts",
        "preferences/pairwise.py",
        "return both_orders * problem.preference",
        "return both_orders * jnp.swapaxes(problem.preference, 1, 2)",
        ("test_statistics.py::test_law_of_a_run",),
    ),
    Mutant(
        "the fit kept within R, not 2R",
        "proximal/from_counts.py",
        "data, groups, bounds, by_products",
        "data, groups, bounds / 2, by_products",
        ("test_statistics.py::test_fit",),
    ),
    Mutant(
        "weights shifted by one",
        "theory/extrapolation.py",
        "    total = decay * total + increment\n    return total, total",
        "    return decay * total + increment, total",
        ("test_weights.py::test_closed_form",),
    ),
    Mutant(
        "matched beta is beta (1 - alpha)",
        "theory/extrapolation.py",
        "return 1 / _step_sizes(alpha, beta, iterations, unrestricted)",
        "return jnp.full(iterations, beta * (1 - alpha))",
        ("test_weights.py::test_momentum_is_a_smaller_beta_on_bandits",),
    ),
    Mutant(
        "the sharp gap with log(1/p)",
        "theory/optimisation.py",
        "return _wright_omega(_log_odds_against(log_probability(p_star, log_p_star)) - 1)",
        "return _wright_omega(-log_probability(p_star, log_p_star) - 1)",
        ("test_exact_preferences.py::test_sharp_gap",),
    ),
    Mutant(
        "the two maxima of kappa joined",
        "theory/data_coverage.py",
        "separate = jnp.max(run, axis=2) + jnp.max(exact, axis=2)",
        "separate = jnp.max(run + exact, axis=2)",
        ("test_statistics.py::test_printed_coverage_fails",),
    ),
    Mutant(
        "the factor 2 of Lemma E.1 missing",
        "theory/statistical_error.py",
        'dropped = 0.0 if flavour == "printed" else jnp.log(2.0)',
        "dropped = 0.0",
        ("test_statistics.py::test_error_of_the_fitted_reward",),
    ),
    Mutant(
        "DTV in place of 2 DTV",
        "theory/gap_split.py",
        "paper_statistics=expectation(jnp.abs(moved)),",
        "paper_statistics=expectation(jnp.abs(moved)) / 2,",
        ("test_statistics.py::test_split_of_the_paper",),
    ),
)


def table() -> str:
    """The mutants in Markdown."""
    rows = ["| mistake | file | caught by |", "|---|---|---|"]
    for mutant in MUTANTS:
        catchers = ", ".join(f"`{name.split('::')[1]}`" for name in mutant.caught_by)
        rows.append(f"| {mutant.name} | `{mutant.file}` | {catchers} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
