"""Joins settings to real parts, once. The API, the worker and the command line all start from here."""
