"""Where a region keeps sealed content, behind one contract (``base``)."""
