"""The comparison of training strategies: arms, matched budgets, runs, statistics, results."""
