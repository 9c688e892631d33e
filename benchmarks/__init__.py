"""What it costs: every figure beside its rival's, measured in one run."""
