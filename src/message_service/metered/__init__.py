"""What is measured, each wrapped in what counts it."""
