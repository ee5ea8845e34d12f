"""Is killed, as by a system without memory."""

import os
import signal

os.kill(os.getpid(), signal.SIGKILL)
