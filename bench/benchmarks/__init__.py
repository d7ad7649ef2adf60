"""One benchmark a file: each takes its `Scope` and returns figures."""
