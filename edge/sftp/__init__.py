"""The SFTP door: pure rules, and a thin shell over asyncssh that drives the intake.

``order`` puts writes in the order of their offsets, ``view`` is what a client finds when it looks
back, ``refusals`` says errors; ``inflow`` and ``files`` bring a file to the intake, ``server`` is
asyncssh's server of SFTP, ``serving`` its life in a channel, ``host_keys`` what a node shows who it
is by, and ``doors`` the connections around them.  Nothing is served back, and of asyncssh nothing
that reaches the node's own files is in the table of requests.
"""
