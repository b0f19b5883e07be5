"""Signals as a terminal's programs have them: a shell without job control starts background commands with them off."""

import signal

# Programs that tests start inherit what is ignored here, and would not hear an interrupt or a hang-up.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
