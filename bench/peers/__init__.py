"""Those we are measured beside, as programs that run in an environment of their own (see `peer-*` in pyproject.toml).

They share no package with this service, so what they import from here is standard library only.
"""
