"""The package in which Django finds an app's commands."""
