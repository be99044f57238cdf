"""The sealed log of an upload: segments of authenticated records that can be resumed.  Pure.

The rule: **whoever writes cannot read back**.  A segment has one writer and a fresh key that is
sealed to the region; ingest finds the end of a log by CRC, delivery opens it by authentication.

``header`` begins a segment, ``record`` seals and walks, ``manifest`` ends the log, ``reader``
opens it, ``names`` seals what must be answered later; ``packing`` is the one encoding.
"""
