"""Tests of moe_middleware.planning."""
