"""Speed beside named peers: one command a bench, peers installed and started by it.

The rule: ours runs as users start it, sealed and durable; the peers run as they come.  The server
has one core and the load the other; rounds alternate; medians count, and ratios before numbers.
"""
