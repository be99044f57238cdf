"""Where should this client go?  A pure choice over what is known, always with a reason.

``choose`` is total: with no database, no table and every node down it still answers with an order
and says why.  ``mmdb`` reads address databases; ``python -m geo explain ADDRESS`` shows each step.
"""
