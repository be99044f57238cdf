"""The requirements of the two resumable protocols, each by its number, in our own words.

The rule: a number stays with its requirement for ever, because tests bear it in their names.  One
line is one requirement: its number, how strictly the protocol asks for it, and what it asks for;
``##`` begins a group.  The words are ours; what binds is the protocol's own text.
"""

from typing import Final

# The tus resumable upload protocol 1.0.0 of 2016-03-25, https://tus.io/protocols/resumable-upload
TUS: Final = """\
## Core: headers
T01 MUST `Upload-Offset` is a number of bytes, never negative.
T02 MUST `Upload-Length` is a number of bytes, never negative.
T03 MUST `Tus-Version` lists the versions, the preferred one first.
T04 MUST `Tus-Resumable` stands in every request and response, errors too; not in OPTIONS.
T05 MUST Another version is 412 with `Tus-Version`, and nothing is done.
T06 MUST `Tus-Extension` lists what is spoken beside the core.
T07 SHOULD `Tus-Max-Size` tells the hard limit of a size, in bytes.
T08 MUST `X-HTTP-Method-Override`, where it is sent, is the method.

## Core: HEAD
T10 MUST The answer has `Upload-Offset`, be it 0 or the end.
T11 MUST The answer has `Upload-Length` where the size is known.
T12 SHOULD What is not there is 404, 410 or 403, and has no offset.
T13 SHOULD Success is 200 or 204.
T14 MUST `Cache-Control: no-store`.

## Core: PATCH and OPTIONS
T20 MUST A PATCH has its own content type; another one is 415.
T21 MUST The offset of a PATCH is the upload's; another one is 409 and changes nothing.
T22 MUST Success is 204 with the new offset: the old one and what was kept.
T23 SHOULD A PATCH of what is not there is 404.
T24 SHOULD What came before a connection broke is kept as far as possible.
T25 SHOULD A broken network is noticed; a time-out closes the connection.
T30 MUST OPTIONS is 200 or 204 with `Tus-Version`.
T31 MUST OPTIONS does not look at the client's `Tus-Resumable`.

## creation
T40 MUST `creation` is announced.
T41 MUST A creation brings `Upload-Length`, or `Upload-Defer-Length: 1`.
T42 SHOULD Another value of `Upload-Defer-Length` is 400.
T43 MUST A creation is 201 with `Location`.
T44 MUST A length beyond the limit is 413.
T45 MUST An upload of 0 bytes is allowed, and complete at once.
T46 MUST `Upload-Metadata` is a list of keys with a value in base64, or none.
T47 MUST HEAD gives `Upload-Metadata` back as it was sent.
T48 SHOULD Metadata is checked before it stands in a header.

## creation-defer-length, creation-with-upload, expiration
T50 MUST `creation-defer-length` is announced.
T51 MUST HEAD has `Upload-Defer-Length: 1` while the length is unknown, and only then.
T52 MUST The length comes with a later PATCH; once set it never changes.
T60 MUST `creation-with-upload` is announced, and `creation` with it.
T61 MUST A creation with a body has the content type of a PATCH; it may wait for 100.
T62 MUST Its answer has `Upload-Offset` behind the bytes that were taken.
T70 MUST `expiration` is announced.
T71 MUST `Upload-Expires` is told by each PATCH of what will expire, and at creation if known.
T72 MUST Its value is a date of HTTP; it may change.
T73 SHOULD What expired is 404 or 410.

## checksum, checksum-trailer, termination
T80 MUST `checksum` is announced, and OPTIONS lists the algorithms.
T81 MUST `sha1` is one of them; names are ASCII in lower case.
T82 MUST `Upload-Checksum` is an algorithm and a digest in base64.
T83 MUST It is compared when the whole request is there.
T84 MUST An unknown algorithm is 400, a mismatch 460; then no byte counts.
T85 MAY A digest may come as a trailer where `checksum-trailer` is announced.
T90 MUST `termination` is announced: DELETE is 204, and the upload is gone after it.

## concatenation, concatenation-unfinished
T100 MUST `concatenation` is announced.
T101 MUST A creation says `partial`, or `final;` and the addresses of its parts.
T102 MUST The creation of a final has no `Upload-Length`.
T103 MUST A final is its parts in the order given; a part may be used again.
T104 MUST Metadata of parts is not the final's.
T105 MUST A PATCH of a final is 403 and changes nothing.
T106 SHOULD HEAD of a final has no offset before it is done; then offset and length are equal.
T107 MUST HEAD of a part has its `Upload-Offset`.
T108 MUST `Upload-Length` is told where it can be computed.
T109 MUST HEAD gives `Upload-Concat` back as it was sent.
T110 MUST `concatenation-unfinished` is announced where parts may still be unfinished.

## Not in the text, and relied on by clients
T120 SHOULD Who cannot have an upload now is told 423; here the newest request wins.
T121 SHOULD A page of another origin may read every header of the protocol.
T122 SHOULD Bytes past the length are refused, and never kept.
"""

# draft-ietf-httpbis-resumable-upload, "Resumable Uploads for HTTP": the superset of its versions.
RUFH: Final = """\
## State, limits and OPTIONS
R01 MUST An offset never goes back; an upload that lost state is over.
R02 MUST `Upload-Offset` is an integer from 0 on, and what it tells is never sent again.
R03 MUST `Upload-Complete` is a boolean; anything else is ignored.
R04 MUST A length is `Upload-Length`, or follows from the last content; else it is ignored.
R05 MUST Lengths that contradict each other are 400 with a problem of their own.
R06 MUST An upload is whole when its sender says so, not when the length is reached.
R07 MUST `Upload-Limit` is a dictionary of integers; a wrong type voids it.
R08 SHOULD Limits do not become tighter later.
R09 MUST Appends keep to the limits of their size; here they have none.
R10 MUST OPTIONS tells `Upload-Limit` where uploads may be created.
R11 SHOULD 413 tells the limits.

## Creation
R20 SHOULD `Upload-Complete` creates an upload by any verb; 104 tells its address at once.
R21 MUST What comes whole is answered as by the resource that it was sent to.
R22 MUST A first part is answered with the address and the limits.
R23 MUST The length is kept from the request that tells it.
R24 MAY Further 104 tell progress.
R25 MUST The address is the same in every response to one request.
R26 SHOULD The final response has `Upload-Complete`.
R27 SHOULD What came before a break is kept, and is not whole.
R28 MUST Name, type and coding are those of the creation's headers.

## Offset retrieval
R30 MUST HEAD tells offset and limits, and whether it is complete; it is not cached.
R31 SHOULD There is no 301 or 302.
R32 MUST An offset that was told is taken by the next append.
R33 MUST A client asks for no offset while it appends: here, then, the newest request wins.

## Append
R40 MUST PATCH has its own media type, an offset, and says whether it is the last.
R41 MUST Another offset is 409 and tells the right one.
R42 MUST The last append is answered as the whole would be; it may be empty.
R43 MUST Another append is 2xx and says that the upload is not complete.
R44 SHOULD An append that is repeated after the end gets the final response again, or a refusal.
R45 MUST More than the length ends the upload.
R46 SHOULD 104 during an append tell offsets, and no address.
R47 SHOULD Of a broken append a prefix is kept; it is never complete.

## Cancellation, concurrency, 1xx, digests, security
R50 SHOULD DELETE ends what runs and the upload with it.
R60 MUST Requests at the same time neither race nor corrupt; the newer one ends the older.
R70 MUST 104 does not stand for 100; who waits for that gets both.
R71 MUST There is no 104 for a client that names no version that we know.
R80 SHOULD `Repr-Digest` of the creation is compared at the end, and told where it is wanted.
R81 SHOULD Content that does not match its `Content-Digest` is not appended.
R82 MUST Offsets count content, not how it is transferred.
R90 SHOULD Addresses cannot be guessed; rights are checked again; slow and abandoned ones end.
"""
