"""The contract every node shares, and how a process of ours runs; it imports no plane.

The wire (``v1``), the vocabulary (``ids``, ``errors``, ``limits``, ``credential``), and the shells
that every process stands on (``settings``, ``log`` with its table ``log_facts``, ``clock``,
``service``, ``health``, ``metrics``, ``stream``, ``rpc``, ``disk``).  The memory forms of streams
and disks ship here too: the simulator runs the product's own code on them.
"""

import os

# gRPC's C core reads these when it is first imported; with them it writes peers' addresses to
# stderr, past our log (law 11).
os.environ["GRPC_VERBOSITY"] = "NONE"  # noqa: TID251 - for the C core, not for us
os.environ.pop("GRPC_TRACE", None)  # noqa: TID251
