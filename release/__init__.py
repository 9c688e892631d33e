"""Makes a release: builds it, compares it with git, and tries it in clean places."""
