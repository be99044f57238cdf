"""``zentransfer send``: files go to the nearest node, whole and once, and are followed to the end.

The pure part decides: ``names`` (what a file is called there), ``tus`` (requests and answers),
``sending`` (the way of one upload through every failure), ``backoff``, ``nearby`` (the regions in
order), ``fate`` (what became of it), ``report`` (what is said).  The shells do: ``files`` (what is
to be sent), ``content`` (reads and hashes it), ``client`` (HTTP), ``sender`` (one upload),
``follower`` (its deliveries), ``screen`` (progress), ``run`` (all of it), ``settings`` and
``command`` (what it is told).

The rule that everything here keeps: an upload that may have arrived whole is never begun again
elsewhere before somebody who knows has said that it did not.
"""
