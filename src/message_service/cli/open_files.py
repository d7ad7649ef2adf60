"""Each watcher of a stream holds a connection open; the customary limit of 1,024 files would be reached first."""

import resource

WANTED_OPEN_FILES = 65_536


def raise_open_files_limit() -> None:
    """Raise our soft limit, which our children inherit, as far as the hard one allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_OPEN_FILES if hard == resource.RLIM_INFINITY else min(WANTED_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
