"""The FTP door: pure rules and replies, and a thin shell over aioftp that drives the intake.

``lines`` cuts what comes into commands, ``paths`` turns names into ours, ``session`` answers what
needs no socket, ``looking`` what clients may look back at in their ``view`` (which ``listing``
writes), ``replies`` says it; ``storing`` takes files in and goes on with cut ones, ``defence``
counts wrong passwords.  ``data`` and ``passive`` are the data connections, ``control`` the other
one, ``verbs`` drive the intake, and ``doors`` is aioftp's server around them; ``tls`` and its like
encrypt.  Content goes from the data connection to the intake and through none of aioftp's own files
and paths.
"""
