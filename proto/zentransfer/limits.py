"""Every shared bound, with its unit and its reason.  Pure.

Law 7: every queue, cache, retry, wait, line and message has a named limit here and a test marked
``@pytest.mark.reaches("NAME")`` that reaches it.  Relations between limits are asserted at import.
"""

from typing import Final

# --- errors, settings, log: how a process of ours runs ---

ERROR_DETAIL_CHARS_MAX: Final = 200  # characters: a reply line of FTP and a gRPC trailer stay short
SETTINGS_FILE_BYTES_MAX: Final = 1_048_576  # bytes: a bigger one is not a settings file
LOG_FRAMES_MAX: Final = 20  # frames: the innermost ones of our own packages say where a fault is
LOG_CAUSES_MAX: Final = 8  # errors: a chain or a group longer than this says nothing more

# --- service, health: how a process of ours lives ---

LEAVE_ACTION_S: Final = 10.0  # seconds: one action of leaving, other than the drain itself
LEAVE_AT_ONCE_S: Final = 1.0  # seconds: the same after a second signal: somebody is waiting
NOTIFY_RETRY_S: Final = 5.0  # seconds: how long READY=1 is offered to a manager that is behind
HEALTH_DETAIL_CHARS_MAX: Final = 200  # characters: a check says a few words, not a story
HTTP_KEEPALIVE_S: Final = 15.0  # seconds: also cuts a trickle of headers at its total
HTTP_LINGER_S: Final = 2.0  # seconds: how long the rest of a refused body is read and dropped
HTTP_READ_BUFFER_BYTES: Final = 16_384  # bytes: 103 KiB a connection, 256 KiB held 701 (measured)
LISTEN_BACKLOG: Final = 1024  # connections: accepted by the kernel and not yet by us

# --- disk ---

DISK_FLUSH_THREADS: Final = 8  # threads: flushes at once; a disk merges what waits together
DISK_LOCK_WAIT_S: Final = 10.0  # seconds: holders flush twice at most, so this is a broken disk

# --- fleet: rpc, link, snapshot ---

RPC_MESSAGE_BYTES_MAX: Final = 4_194_304  # bytes: gRPC's own default; bulk goes in parts of 1 MiB
RPC_CALLS_MAX: Final = 256  # calls: at once, of a whole fleet; each process holds one stream
RPC_STREAMS_MAX: Final = 64  # streams: that one process has dialled; it needs one or two
RPC_CODE_CHARS_MAX: Final = 40  # characters: a word of the error table has at most 20
RPC_RETRY_AFTER_S_MAX: Final = 3_600.0  # seconds: a longer wait is a mistake of the peer
RPC_DEADLINE_S: Final = 10.0  # seconds: of a single call, where the caller gives none
RPC_RETURN_S: Final = 0.02  # seconds: kept back so that the answer arrives in time (boulder)
RPC_WORK_S_MIN: Final = 0.1  # seconds: with less nothing useful is done (boulder)
RPC_DIAL_S: Final = 10.0  # seconds: from the dial until the peer's handler has the stream
RPC_CLOSE_S: Final = 2.0  # seconds: what a peer that still receives may take to hear of a close
RPC_HANDLER_S: Final = 3.0  # seconds: from the end of a stream until its handler is cancelled
RPC_STOP_S: Final = 1.0  # seconds: what runs when a server stops
NETWORK_STREAMS_MAX: Final = 1_024  # streams: open at one time in a memory network
NETWORK_PIPE_MESSAGES_MAX: Final = 16  # messages: under way or unread in one direction
NETWORK_DIAL_S: Final = 10.0  # seconds: a dial into silence, as RPC_DIAL_S
NETWORK_HISTORY_EVENTS_MAX: Final = 10_000  # events: the last ones; a digest covers all

FLEET_HEARTBEAT_S: Final = 10.0  # seconds: what a welcome asks for; small beats, three before late
FLEET_HELLO_S: Final = 10.0  # seconds: for a new stream's hello, then for its first heartbeat
FLEET_LATE_S: Final = 30.0  # seconds: of silence; three heartbeats missed
FLEET_LOST_S: Final = 60.0  # seconds: of silence; clients are sent elsewhere, the stream is ended
FLEET_TICK_S: Final = 1.0  # seconds: how often control judges silences
FLEET_DRAIN_MAX_S: Final = 86_400.0  # seconds: the longest upload of a slow line has ended by then
FLEET_DISABLED_MAX_S: Final = 172_800.0  # seconds: 48 h; a node nobody remembers comes back
FLEET_QUARANTINE_S: Final = 3_600.0  # seconds: for a person to come; then the evidence is renewed
FLEET_KNOCKS_MAX: Final = 3  # returns of a superseded process: one may be an old one on its way out
FLEET_KNOCKS_WINDOW_S: Final = 3_600.0  # seconds: in which they count; one knocks every 5 min
FLEET_EPOCHS_KEPT: Final = 16  # epochs: that held a place before; a crash loop makes many
FLEET_CANDIDATES_MAX: Final = 4  # streams: that ask for one place; a dead one leaves in 10 s
FLEET_NODES_MAX: Final = 1_024  # nodes: twice the largest fleet that is simulated
FLEET_OUTBOUND_MAX: Final = 64  # messages: that wait for one stream; then it starts again
FLEET_RETRY_AFTER_S: Final = 5.0  # seconds: what a refusal at a limit of the fleet asks for
LINK_WELCOME_S: Final = 10.0  # seconds: from dialling to the welcome, three round trips and TLS
LINK_SILENCE_S: Final = 30.0  # seconds: without a word of control a stream is dead: three echoes
LINK_HEARTBEAT_S_MIN: Final = 1.0  # seconds: whatever a welcome says, no faster, also when hurried
LINK_HEARTBEAT_S_MAX: Final = 20.0  # seconds: whatever a welcome says, no slower: late is at 30
LINK_RETRY_FIRST_S: Final = 0.5  # seconds: the first pause is drawn from 0 to this
LINK_RETRY_MAX_S: Final = 60.0  # seconds: doubled at each failure in a row up to this
LINK_RESET_S: Final = 60.0  # seconds: a stream that lived as long makes the next pause a first one
LINK_LONG_WAIT_S: Final = 300.0  # seconds: when a person must act first, drawn from half to this
LINK_LAST_WORD_S: Final = 1.0  # seconds: for the last message of either side at the end
LINK_COMMAND_S: Final = 5.0  # seconds: to take a command in hand; the work itself goes on beside
LINK_COMMANDS_KEPT: Final = 256  # ids: of commands that were done, to answer a repeated one
LINK_REPLIES_MAX: Final = 64  # messages: answers to commands that wait to be sent
LINK_ECHOES_KEPT: Final = 8  # echoes: the best of these gives the clock's offset (RFC 5905)

# --- edge: uploads, seal, sinks ---

OUTBOX_FACT_BYTES_MAX: Final = 4_096  # bytes: ids, numbers and one sealed name
OUTBOX_SEGMENT_BYTES: Final = 4_194_304  # bytes: a full one is followed by another
OUTBOX_BYTES_MAX: Final = 268_435_456  # bytes: 0.7 M facts, a day at 8 a second; then no uploads
OUTBOX_BATCH_FACTS_MAX: Final = 200  # facts: of one message and one transaction of control

SEAL_RECORD_BYTES_MIN: Final = 8_192  # bytes: the first full record still holds something
SEAL_RECORD_BYTES_MAX: Final = 4_194_304  # bytes: what a reader holds in memory for one log
SEGMENTS_PER_UPLOAD_MAX: Final = 2_000  # segments: attaches that wrote; each costs record space
PARTIALS_PER_UPLOAD_MAX: Final = 256  # uploads: more URLs do not fit into one Upload-Concat header
MANIFEST_BYTES_MAX: Final = 131_072  # bytes: every segment and partial that there can be
MARK_EVERY_BYTES: Final = 268_435_456  # bytes: what a claim scans at most, about a second of disk
UNLISTED_BYTES_MAX: Final = 8_388_608  # bytes: told to nobody, so a killed process may lose them
ALLOCATE_FROM_BYTES: Final = 1_048_576  # bytes: below it, blocks allocated ahead do not pay
ALLOCATE_AHEAD_BYTES_MAX: Final = 67_108_864  # bytes: what one open upload may hold back of a disk
NAMES_BYTES_MAX: Final = 16_384  # bytes: names and metadata of one upload, as long as its headers
UPLOAD_RECORD_BYTES_MAX: Final = 262_144  # bytes: every segment that there can be, and the names
KEY_FILE_BYTES_MAX: Final = 65_536  # bytes: a bigger one is no key file of ours


# --- control ---

DATABASE_BUSY_MS: Final = 2_000  # milliseconds: another process that holds the file's lock
DATABASE_READERS: Final = 4  # connections: that read at once, each with a thread
DATABASE_WAIT_S: Final = 10.0  # seconds: for one's turn; a batch of facts takes 0.03
DATABASE_RETRY_AFTER_S: Final = 5.0  # seconds: what a refusal by the database asks for

FACT_ID_CHARS_MAX: Final = 64  # characters: an id has 29
FACT_CLOCK_OFFSET_MS_MAX: Final = 60_000  # milliseconds: then our clock says when usage counts
FACT_QUARANTINE_MAX: Final = 10_000  # rows: the first ones show the trouble, the rest is counted
FACT_QUARANTINE_BODY_BYTES_MAX: Final = 8_192  # bytes: two facts' worth of what was set aside
SEALED_NAME_BYTES_MAX: Final = 2_048  # bytes: half a fact; a folder and a name of 1,000 bytes each

LABEL_CHARS_MAX: Final = 100  # characters: of a credential, destination or workflow, for people
FOLDER_CHARS_MAX: Final = 200  # characters: of a virtual folder
FOLDER_DEPTH_MAX: Final = 8  # parts: of a virtual folder
DESTINATION_ADDRESS_CHARS_MAX: Final = 1_024  # characters: a path, later a URL
PATTERN_CHARS_MAX: Final = 200  # characters: of a rule's condition
RULE_CONDITIONS_MAX: Final = 8  # conditions: of one rule
WORKFLOW_RULES_MAX: Final = 50  # rules: of one workflow
WORKFLOW_DESTINATIONS_MAX: Final = 20  # destinations: of one workflow; each is a delivery per file
ACCOUNT_DESTINATIONS_MAX: Final = 100  # destinations: of one account
ACCOUNT_WORKFLOWS_MAX: Final = 100  # workflows: of one account
ACCOUNT_CREDENTIALS_MAX: Final = 1_000  # credentials: of one account, one per camera and program
ACCOUNT_KEYS_CACHED_MAX: Final = 1_024  # keys: kept in memory; another costs one small read

FIRST_ACCOUNT_BYTES_MAX: Final = 8_192  # bytes: ids, secrets and a path
PROBE_S: Final = 10.0  # seconds: that a trial of a destination may take

SNAPSHOT_RETRY_S: Final = 5.0  # seconds: until a snapshot that could not be made is tried again
SNAPSHOT_HISTORY_MAX: Final = 32  # versions: that a delta can start from; older ones fetch it all

API_BODY_BYTES_MAX: Final = 65_536  # bytes: the largest workflow that there can be takes half
API_CURSOR_CHARS_MAX: Final = 128  # characters: a time and an id in base64
PAGE_ITEMS: Final = 50  # items: of a page, when nobody says
PAGE_ITEMS_MAX: Final = 200  # items: of a page; each may hold a name to open (57 us, measured)
UPLOAD_EVENTS_SHOWN_MAX: Final = 200  # events: the newest of one upload
EVENT_STREAMS_MAX: Final = 256  # streams: of all accounts together
EVENT_STREAMS_PER_ACCOUNT_MAX: Final = 8  # streams: a desk with a few screens
EVENTS_PER_READ_MAX: Final = 100  # events: read from the database at once
EVENTS_PAUSE_S: Final = 15.0  # seconds: then a comment keeps the line open and the token is checked
EVENTS_STREAM_S: Final = 3_600.0  # seconds: then the client dials again, from where it was
COMMANDS_QUEUED_MAX: Final = 1_024  # commands: that wait for nodes; then the asker tries again

# --- geo ---

ADDRESS_CHARS_MAX: Final = 64  # characters: the longest IPv6 text has 45, and a zone may follow
GEO_DATABASES_MAX: Final = 16  # files: a folder of city and ASN files; more is the wrong folder
ROUTE_TTL_S_MAX: Final = 300  # seconds: how long a client may hold on to an answer
ROUTE_TABLE_AGE_S_MAX: Final = 86_400  # seconds: an older table misleads; GeoIP serves instead
SPILL_COSTS_MAX: Final = 256  # entries a region: quantiles finer than the load is measured

# --- ops: launcher ---

PORT_BASE_MAX: Final = 24_000  # port: the highest passive range of FTP still ends below 65,536
RESTART_FIRST_S: Final = 0.5  # seconds: the pause after a first death is drawn from 0 to this
RESTART_MAX_S: Final = 30.0  # seconds: doubled at each death in a row up to this
RESTART_RESET_S: Final = 60.0  # seconds: who lived as long starts again as if it never died
CHILD_START_S: Final = 60.0  # seconds: a process that is not ready by then is started anew
CHILD_AT_ONCE_S: Final = 3.0  # seconds: from the second signal to the kernel's own
CHILD_LOG_BYTES_MAX: Final = 8_388_608  # bytes: then the log becomes `.1` and begins again
CHILD_LAST_LINE_BYTES_MAX: Final = 2_048  # bytes: what is searched for a dead one's last words
NOTIFY_BYTES_MAX: Final = 4_096  # bytes: one message of sd_notify; more is cut
READYZ_S: Final = 2.0  # seconds: a check asks nobody, so a late answer is no answer
READYZ_BYTES_MAX: Final = 65_536  # bytes: of one /readyz that is read
READY_FILE_BYTES_MAX: Final = 65_536  # bytes: a bigger ready.json is not ours
LEFTOVER_WAIT_S: Final = 20.0  # seconds: that a start waits for ports of an earlier run's processes
DISK_FREE_BYTES_MIN: Final = 67_108_864  # bytes: less room than this is a full disk in waiting
OPEN_FILES_MIN: Final = 1_024  # descriptors: what one process needs for some hundred connections

# --- relations ---

assert LINK_HEARTBEAT_S_MIN <= FLEET_HEARTBEAT_S <= LINK_HEARTBEAT_S_MAX
assert LINK_HEARTBEAT_S_MAX < FLEET_LATE_S < FLEET_LOST_S, "a beat may come late, not be late"
assert FLEET_KNOCKS_MAX * LINK_LONG_WAIT_S < FLEET_KNOCKS_WINDOW_S, "a clone's knocks must count"
assert LINK_RETRY_MAX_S <= LINK_LONG_WAIT_S / 2, "to wait for a person is to wait longer"
