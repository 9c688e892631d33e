"""Those that stand beside us: each does the same work in a process of its own."""
