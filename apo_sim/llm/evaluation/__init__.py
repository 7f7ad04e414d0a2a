"""How good a policy is: held-out prompts, win rates, benchmarks, certificates."""
