"""What a call may cost and who says no: grammar, budgets, admission, estimates, refusals, alerts, status."""
