"""MongoDB and Redis as child processes on unix sockets, for development and tests.

Production brings its own servers.
"""
