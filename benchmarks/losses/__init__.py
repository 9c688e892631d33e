"""Which events are lost, and which are counted twice, when processes end badly."""
