"""What a site will need: a simulation of its busiest hour, and the arithmetic of it.

Pure: no network, no files. ``moe-middleware plan`` prints it.
"""
