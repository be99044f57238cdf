"""``zentransfer doctor``: connects as a camera would, and says in plain words what is wrong.

``seen`` is what the probes report, ``certificate`` reads one, ``diagnosis`` turns it into sentences
with a cure, all of them pure; ``line``, ``secured`` and ``visit`` are the thin probes, ``report``
prints and ``command`` is the command line.
"""
