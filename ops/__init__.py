"""The operator's desk: a client of control, and the one-machine launcher.

``cli`` is the command ``zentransfer``; ``up`` starts the planes as programs and never imports them.
"""
