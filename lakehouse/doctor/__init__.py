"""Checks of machine, services, lake and flows."""
