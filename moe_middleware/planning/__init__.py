"""The needs of a site: a simulation of its busiest hour, and its arithmetic.

Pure: no network, no files. ``moe-middleware plan`` prints it.
"""
