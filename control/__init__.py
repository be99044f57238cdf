"""The truth: accounts, billing, fleet and privacy.

Nodes dial control, never the reverse.  ``rpc`` turns protobuf into commands and nothing else;
``fleet`` holds what is known of nodes; ``node`` is the composition root (``python -m control``).
Control may be away for a day: no upload and no delivery waits for it.
"""
