"""Checks of an installation, of a service and of a stack on AWS."""
