"""``make demo``: the main job on real input, headless, checked from the outside.

The rule: it is a customer and nothing more.  It sends by the documented doors, looks where the
files must arrive and asks the API; what it cannot see from there it does not claim.
"""
