"""Plan -> cells -> executor -> store."""

import os

# numpy asks for huge pages for every large array; a 1080p frame touches two of them, and clearing them for each of
# thousands of short-lived frames costs 5 % of a run. Read when numpy is imported, here and in worker processes.
os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")
