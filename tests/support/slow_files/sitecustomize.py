"""Python loads this at start where PYTHONPATH names its folder: a named pipe then counts as a file, slow to come.

So a test holds a process up for as long as it needs, as a network share would.
"""

import os
import stat

is_file = stat.S_ISREG
os.O_NONBLOCK = 0
stat.S_ISREG = lambda mode: is_file(mode) or stat.S_ISFIFO(mode)
