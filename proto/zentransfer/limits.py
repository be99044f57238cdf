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
HTTP_CONNECTIONS_MAX: Final = 16_384  # connections: of one listener, 5 to 11 KiB each (measured)
FULL_RETRY_AFTER_S: Final = 5  # seconds: what a listener with as many asks for, whole (RFC 9110)
HTTP_LINGER_S: Final = 2.0  # seconds: how long the rest of a refused body is read and dropped
HTTP_READ_BUFFER_BYTES: Final = 16_384  # bytes: 103 KiB a connection, 256 KiB held 701 (measured)
FORWARDED_CHARS_MAX: Final = 4096  # characters: of what fronts said, the nearest ones' last
PROXY_HEADER_BYTES_MAX: Final = 4096  # bytes: two addresses, and what a front tells of its TLS
TLS_LOOK_S: Final = 5.0  # seconds: between two looks whether the certificate was replaced
LISTEN_BACKLOG: Final = 1024  # connections: accepted by the kernel and not yet by us

# --- disk ---

DISK_FLUSH_THREADS: Final = 8  # threads: flushes at once; a disk merges what waits together
DISK_FLUSH_GROUPS_MAX: Final = 2  # groups: of flushes at once; what comes meanwhile is the next
DISK_FLUSH_WAIT_S: Final = 0.005  # seconds: that a group waits for those before it to end
DISK_FLUSH_TOGETHER_BYTES: Final = 4_194_304  # bytes: with more to write, a flush goes by itself
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
FLEET_COMMANDS_MAX: Final = 32  # commands: unanswered on one stream; half of what may wait for it
FLEET_TRACES_AT_ONCE: Final = 16  # commands: to trace, unanswered on one stream; others wait
FLEET_CREDIT: Final = 4  # batches: of one stream in flight, 800 facts; more waits in the outbox
FLEET_OFFER_S: Final = 30.0  # seconds: until a snapshot that nobody answered for is offered again
LINK_CREDIT_MAX: Final = 16  # batches: whatever a welcome says, no more in flight
LINK_ACK_S: Final = 30.0  # seconds: without progress of the acks; then facts are sent again
LINK_TELL_ALL_S: Final = 5.0  # seconds: for facts at the end of a process; the rest is kept
RECEIVING_AFTER_S: Final = 2.0  # seconds: an upload that ends sooner is told of by its outcome only
RECEIVING_PAUSE_S: Final = 2.0  # seconds: between two reports of what a process is receiving
RECEIVING_REPORT_MAX: Final = 200  # uploads: of one report, 0.5 MiB; others wait for the next one
RECEIVING_KEPT_MAX: Final = 65_536  # uploads: at control; all that one process may have begun
RECEIVING_KEPT_S: Final = 90_000.0  # seconds: since it was last told; it has expired an hour before
TRACE_S: Final = 900.0  # seconds: that a trace is open; to set up a camera takes less
TRACE_AGAIN_S: Final = 60.0  # seconds: that asking again must add, or no node is asked
TRACES_MAX: Final = 256  # traces: open at once, at control and in each process
TRACES_PER_ACCOUNT_MAX: Final = 8  # traces: of one account at once
TRACE_LINES_MAX: Final = 500  # lines: kept of one trace at control; a session of 100 files
TRACE_LINES_WAITING_MAX: Final = 1_000  # lines: of one process on their way to control, 1 MB
TRACE_LINES_BEFORE_MAX: Final = 8  # lines: of a session, kept until it says who it is
TRACE_LINES_PER_REPORT_MAX: Final = 50  # lines: of one message to control, 50 KB
TRACE_LINE_BYTES_MAX: Final = 512  # bytes: of one line; what is longer is cut
TRACE_PAUSE_S: Final = 0.25  # seconds: between two reports; who watches sees it live
LINK_FETCH_S: Final = 300.0  # seconds: for a whole snapshot, 256 MiB at 7 Mbit/s
SNAPSHOT_PART_BYTES: Final = 1_048_576  # bytes: of a snapshot in one message
SNAPSHOT_DELTA_BYTES_MAX: Final = 1_048_576  # bytes: a longer delta is no small change: fetch it
SNAPSHOT_WIRE_BYTES_MAX: Final = 268_435_456  # bytes: some million entries; held in memory once

# --- edge: uploads, seal, sinks ---

OUTBOX_FACT_BYTES_MAX: Final = 4_096  # bytes: ids, numbers and one sealed name
OUTBOX_SEGMENT_BYTES: Final = 4_194_304  # bytes: a full one is followed by another
OUTBOX_BYTES_MAX: Final = 268_435_456  # bytes: 0.7 M facts, a day at 8 a second; then no uploads
OUTBOX_BATCH_FACTS_MAX: Final = 200  # facts: of one message and one transaction of control

SEAL_RECORD_BYTES_MIN: Final = 8_192  # bytes: the first full record still holds something
SEAL_RECORD_BYTES_MAX: Final = 4_194_304  # bytes: what a reader holds in memory for one log
SEGMENTS_PER_UPLOAD_MAX: Final = 2_000  # segments: attaches that wrote; each costs record space
PARTIALS_PER_UPLOAD_MAX: Final = 256  # uploads: more URLs do not fit into one Upload-Concat header
FINALS_ANEW_MAX: Final = 16  # uploads: that the same final was, and none of them was ever whole
FINALS_PER_PARTIAL_MAX: Final = 64  # uploads: that one partial upload is a part of
MANIFEST_BYTES_MAX: Final = 131_072  # bytes: every segment and partial that there can be
MARK_EVERY_BYTES: Final = 268_435_456  # bytes: what a claim scans at most, about a second of disk
UNLISTED_BYTES_MAX: Final = 8_388_608  # bytes: told to nobody, so a killed process may lose them
ALLOCATE_FROM_BYTES: Final = 1_048_576  # bytes: below it, blocks allocated ahead do not pay
ALLOCATE_AHEAD_BYTES_MAX: Final = 67_108_864  # bytes: what one open upload may hold back of a disk
NAMES_BYTES_MAX: Final = 24_576  # bytes: names and metadata of one upload, as long as its headers
UPLOAD_RECORD_BYTES_MAX: Final = 262_144  # bytes: every segment that there can be, and the names
KEY_FILE_BYTES_MAX: Final = 65_536  # bytes: a bigger one is no key file of ours

SNAPSHOT_ENTRIES_MAX: Final = 1_000_000  # entries: of one list; a region of that size is divided
SNAPSHOT_PAST_WORKFLOWS_MAX: Final = 1_024  # workflows: in versions that an upload may still bear
SNAPSHOT_FILE_BYTES_MAX: Final = 536_870_912  # bytes: some millions of entries
NAME_BYTES_MAX: Final = 200  # bytes: of one folder's or file's name; file systems take 255
NAME_PATH_BYTES_MAX: Final = 4_096  # bytes: of a name with its folders, percent-encoded
UPLOAD_BYTES_MAX: Final = 1_099_511_627_776  # bytes: 1 TiB, where neither plan nor knob says less
UPLOADS_IN_FLIGHT_MAX: Final = 6_144  # uploads: of one process; a buffer each, 1.5 GiB if full
UPLOADS_PER_ACCOUNT_MAX: Final = 256  # uploads: at once, where neither plan nor knob says
UPLOADS_UNSETTLED_MAX: Final = 1_024  # uploads: whose end the disk would not take; then no new ones
ADMISSION_RETRY_AFTER_S: Final = 5.0  # seconds: what a refusal asks for; doubled by chance at most
BODY_IDLE_S: Final = 30.0  # seconds: without a byte; then the sender is gone
BODY_RATE_WINDOW_S: Final = 60.0  # seconds: the lowest rate is judged over; also the first grace
BODY_RATE_MIN_BYTES_S: Final = 1_024  # bytes a second: less only holds a slot
REGION_NOTICES_MAX: Final = 4096  # notices: that wait for Redis; the oldest goes, as it is stale
REGION_BATCH_MAX: Final = 100  # notices: in one round trip
REGION_NOTICE_BYTES_MAX: Final = 128  # bytes: an id and a number; anything longer is no notice
REGION_DIAL_S: Final = 2.0  # seconds: for an answer of Redis; after that it is away
REGION_RETRY_S: Final = 2.0  # seconds: longest pause before it is dialled again, so back within 5
REGION_SILENCE_S: Final = 1.5  # seconds: without a word before it is asked whether it is there
REGION_LOCAL_LOOK_S: Final = 1.0  # seconds: between two looks for the node's other processes
SHARE_PAUSE_S: Final = 0.2  # seconds: between two looks at how many uploads an account has here
SHARE_AGAIN_S: Final = 1.0  # seconds: then what did not change is said again
SHARE_KEPT_S: Final = 5.0  # seconds: that such a word of another process counts
SHARES_TOLD_MAX: Final = 100  # accounts: of one round, those with the most uploads
SHARES_KEPT_MAX: Final = 65_536  # words: of all other processes together; 15 MB of memory
CUTS_KEPT_MAX: Final = 4_096  # uploads: whose takeovers between processes are counted
UPLOADS_HELD_MAX: Final = 256  # uploads: open between two requests; others are claimed anew
UPLOADS_TOLD_KEPT: Final = 4_096  # uploads: whose outcome is known to be told; others, told again
TAKEOVER_S: Final = 10.0  # seconds: until the request before has let go: a flush of a slow disk
TAKEOVERS_PER_MINUTE_MAX: Final = 30  # takeovers: of one upload; two copies of a client make more
UPLOAD_METADATA_CHARS_MAX: Final = 6_144  # characters: of Upload-Metadata, answered by every HEAD
UPLOAD_CONCAT_CHARS_MAX: Final = 8_190  # characters: of Upload-Concat; no longer line is read
FORM_FILES_MAX: Final = 100  # files: of one form; more of them are several forms
FORM_FIELDS_MAX: Final = 200  # fields: of one form that are no files, and are passed over
FORM_FIELD_BYTES_MAX: Final = 65_536  # bytes: of one field that is no file
FORM_PART_HEAD_BYTES_MAX: Final = 8_192  # bytes: of the headers of one part of a form
UNFINISHED_S: Final = 86_400.0  # seconds: without a byte, then an unfinished upload expires
EXPIRY_PAUSE_S: Final = 900.0  # seconds: between two looks at everything that is unfinished
UNFINISHED_MAX: Final = 65_536  # uploads: begun and not ended, of one process; 10 MB of memory
UNFINISHED_PER_ACCOUNT_MAX: Final = 8_192  # uploads: begun and not ended, of one account
HANDOVER_S: Final = 60.0  # seconds: in which an upload that was sent on must begin
HANDOVER_SKEW_S: Final = 30.0  # seconds: that the clocks of two regions may differ
HANDOVER_HOPS_MAX: Final = 2  # hand-overs: of one upload; the second only for a pin, then no more
HANDOVER_TICKET_CHARS_MAX: Final = 1_024  # characters: of a ticket, which has some 400
HANDOVER_PATH_CHARS_MAX: Final = 6_144  # characters: of a path sent on; with its ticket below 8,190
HANDOVERS_KEPT_MAX: Final = 16_384  # tickets: remembered as spent, for at most 120 s; 130 a second
HANDOVERS_PER_ACCOUNT_MAX: Final = 4_096  # tickets: of one account, a quarter of these
HANDOVERS_FORGOTTEN_AT_ONCE: Final = 64  # tickets: whose names one call removes; about 1 ms
NEAREST_GAIN_MS_MIN: Final = 25.0  # milliseconds a round trip: for less it does not pay
NEAREST_FROM_BYTES: Final = 262_144  # bytes: fewer are over within the round trips of a redirect
INTERIM_PAUSE_S: Final = 1.0  # seconds: between two interim responses that tell progress
SETTLE_PAUSE_S: Final = 5.0  # seconds: between tries to tell of an end that the disk would not take
SWEEP_AT_ONCE: Final = 32  # uploads: looked at together at start, so that their flushes are grouped
INTAKE_CUT_S: Final = 5.0  # seconds: kept of a drain for the uploads that it cuts in the end
DISK_RESERVE_BYTES_MAX: Final = 4_294_967_296  # bytes: 5 % of a disk stay free, or as much as this
PEPPER_PAUSE_S: Final = 1.0  # seconds: between reads of a pepper that is not there yet
PEER_LOCK_S: Final = 0.1  # seconds: a lock that is not had by then is held by a living process
OPEN_FILES_MAX: Final = 65_536  # descriptors: that an ingest process asks the kernel for
INGEST_WORKERS_MAX: Final = 4  # processes: that take bytes in on one node, one for each core
LEAVE_GRACE_S: Final = 1.0  # seconds: for accepted connections that nobody has read yet
LOOP_LAG_MAX_S: Final = 0.1  # seconds: of lag that our own work makes; then nothing new is begun
LOOP_LAG_LOOK_S: Final = 0.05  # seconds: between two looks at it
LOOP_LAG_STANDS_S: Final = 2.0  # seconds: of looks that are all late; a burst is worked off by then
FLUSH_WAIT_MAX_S: Final = 5.0  # seconds: that a fact waits for the disk; many ends at once take 2
ADOPT_PAUSE_S: Final = 5.0  # seconds: between two looks for places that nobody runs any more

LANE_THREADS: Final = 4  # threads: of the fast lane; each can fill a core, so a few are enough
LANE_FROM_BYTES: Final = 1_048_576  # bytes still to come: for fewer, a hand-over does not pay
LANE_TRIAL_BYTES: Final = 262_144  # bytes: that a fast sender brings within the next line's time
LANE_TRIAL_S: Final = 0.02  # seconds: with the bytes above 13 MB/s; slower ones cost little anyway
LANE_SLOW_S: Final = 0.1  # seconds: in which a record must come, 2.6 MB/s; then back to the loop
LANE_READ_BYTES: Final = 65_536  # bytes: read at once by the loop from a connection that came back

FTP_LINE_BYTES_MAX: Final = 4_096  # bytes: of one command; the longest path that we take fits
FTP_COMMANDS_AHEAD_MAX: Final = 16  # commands: read during a transfer; then no more is read
FTP_SESSIONS_MAX: Final = 12_288  # sessions: of one process; 10,000 idle cameras and some more
FTP_SESSIONS_PER_ADDRESS_MAX: Final = 1_024  # sessions: a stadium's cameras share one address
FTP_LOGIN_S: Final = 30.0  # seconds: from the connection until it is signed in
FTP_LOGIN_TRIES_MAX: Final = 3  # wrong passwords: of one connection (RFC 2577 section 5)
FTP_LOGIN_PAUSE_S: Final = 1.0  # seconds: that a wrong password costs
FTP_FAULTS_MAX: Final = 16  # commands in a row: that are none; then it is no FTP client
FTP_IDLE_S: Final = 300.0  # seconds: without a command; RFC 1123 section 4.1.3.2 says 5 min
FTP_REPLY_S: Final = 30.0  # seconds: for a client to take its replies
FTP_KEEPALIVE_S: Final = 45  # seconds: NAT boxes forget a control connection that is silent longer
FTP_DATA_WAIT_S: Final = 30.0  # seconds: for the data connection: LTE, satellite, later TLS
FTP_FAREWELL_S: Final = 0.001  # seconds: in which the ends of a killed client come, on loopback
FTP_FAREWELL_MIN_S: Final = 0.01  # seconds: the same from elsewhere, at least; else by its rtt
FTP_FAREWELL_MAX_S: Final = 1.0  # seconds: the same, at most; satellites have an rtt of 0.6 s
FTP_DATA_BUFFER_BYTES: Final = 262_144  # bytes: of one data connection; 1 MiB gained nothing
FTP_PORT_TRIES_MAX: Final = 16  # ports: drawn for one data connection until one is free
FTP_FOLDERS_MAX: Final = 256  # folders: made in one session and remembered
FTP_NAME_BYTES_MAX: Final = 255  # bytes: of one name in a path, as it is sent
FTP_GHOSTS_MAX: Final = 2_048  # files: that one credential may look back at
FTP_GHOSTS_IN_ALL_MAX: Final = 131_072  # files: that are shown by one process; 60 MB of memory
FTP_GHOST_KEPT_S: Final = 21_600.0  # seconds: that a file is shown after it came, 6 hours
FTP_GHOSTS_LOOK_S: Final = 60.0  # seconds: between two looks for what is shown no more
FTP_CANDIDATES_MAX: Final = 4_096  # uploads: cut elsewhere in the region, that may be asked for
FTP_RESEND_S: Final = 600.0  # seconds: in which the same file again is a resend after a lost 226
FTP_RENAME_S: Final = 300.0  # seconds: that a file under a temporary name waits for its last name
FTP_SESSIONS_PER_CREDENTIAL_MAX: Final = 10_240  # sessions: one leaked password leaves places
FTP_LOGIN_PAUSE_MAX_S: Final = 5.0  # seconds: that a wrong password costs where many were wrong
FTP_WRONG_MAX: Final = 200  # wrong passwords: of one network, less those that fade, then it waits
FTP_WRONG_FADES_S: Final = 6.0  # seconds: in which one wrong password is forgotten
FTP_NETWORKS_MAX: Final = 16_384  # networks: whose wrong passwords one process counts
FTP_LAST_WORD_S: Final = 0.5  # seconds: for the last replies of sessions when the door closes
FTP_STRANGERS_MAX: Final = 2_048  # sessions: not signed in; of one address a quarter of them
FTP_UNREAD_BYTES_MAX: Final = 2_097_152  # bytes: that a client does not take; a listing is 1 MB
FTP_RESERVED_S: Final = 60.0  # seconds: that a PASV waits for its client; 30 s, and some for STOR

SFTP_CONNECTIONS_MAX: Final = 4_096  # connections: of one process; each costs some 150 KiB
SFTP_HANDSHAKES_MAX: Final = 128  # connections: not signed in; their key exchange is CPU time
SFTP_PER_ADDRESS_MAX: Final = 512  # connections: a stadium's cameras share one address
SFTP_CHANNELS_MAX: Final = 10  # sessions: of one connection at once, as of OpenSSH's MaxSessions
SFTP_HANDLES_MAX: Final = 32  # files and folders: of one session, open or waiting for their names
SFTP_PACKET_BYTES_MAX: Final = 262_144  # bytes: of one request, as of OpenSSH
SFTP_AHEAD_BYTES_MAX: Final = 2_097_152  # bytes: from the next in order; 64 writes of 32 KiB
SFTP_AHEAD_WRITES_MAX: Final = 256  # writes: that came before their turn
SFTP_INFLOW_BYTES_MAX: Final = 262_144  # bytes: of one file between its writes and the log
SFTP_REPLIES_BYTES_MAX: Final = 1_048_576  # bytes: of replies that a client does not take
SFTP_RENAME_S: Final = 60.0  # seconds: that a temporary name is kept; clients rename at once
SFTP_SEEN_MAX: Final = 1_024  # names: that a session is shown of what it sent and made
FTP_HELLO_BYTES_MAX: Final = 32_768  # bytes: of a client's hello; one with quantum keys has 2 KB
FTP_HANDSHAKE_S: Final = 20.0  # seconds: for a TLS handshake; three round trips by satellite
FTP_HANDSHAKES_MAX: Final = 512  # handshakes: of control connections at once, 50 KB each
FTP_TLS_BUFFER_BYTES: Final = 65_536  # bytes: read at once of a data connection by TLS
FTP_REUSE_KEPT_MAX: Final = 10_000  # senders: remembered to continue their TLS sessions

REMOTE_NAME_BYTES_MAX: Final = 255  # bytes: of one name; what ext4, XFS and most others hold
DELIVERY_STALE_PARTS_MAX: Final = 1_000  # parts: of earlier attempts that an attempt looks for
DELIVERY_CLASHES_MAX: Final = 1_000  # names: with a number, tried for files of one name
REMOTE_REF_CHARS_MAX: Final = 512  # characters: a number, later the address of a session
RUN_RECORD_BYTES_MAX: Final = 65_536  # bytes: 20 deliveries with the longest references
AUDIT_BYTES_MAX: Final = 201_326_592  # bytes: 0.5 M lines; it stays below a full outbox
DELIVERIES_RUNNING_MAX: Final = 32  # attempts: at once in one process; each holds a few records
DELIVERIES_RUNNING_PER_DESTINATION_MAX: Final = 4  # attempts: at once to one destination
DELIVERY_INDEX_RUNS_MAX: Final = 100_000  # runs: remembered, about 1 KB each; others are listed
DELIVERY_OVER_KEPT: Final = 100_000  # uploads: remembered to have ended; others are looked at again
DELIVERY_WAKES_MAX: Final = 10_000  # wake-ups: that wait; what does not fit is found by looking
DELIVERY_PLANNERS: Final = 4  # runs: planned at once, each a few flushes
DELIVERY_LOOK_BATCH: Final = 256  # uploads: looked at without a pause
DELIVERY_LOOK_PAUSE_S: Final = 0.02  # seconds: so that a look through a million takes minutes
DELIVERY_VERIFY_BYTES_PER_S: Final = 10_000_000  # bytes a second: of the slowest mount worth it
RUN_CHANGE_TRIES: Final = 16  # tries: as many changes by others come in between at most
BREAKER_FAILURES: Final = 3  # failures: in a row, then a destination gets a pause
BREAKER_PAUSE_FIRST_S: Final = 5.0  # seconds: doubled at each further failure
BREAKER_PAUSE_MAX_S: Final = 300.0  # seconds: what a destination that is back waits at most
BREAKER_PROBE_FIRST_S: Final = 30.0  # seconds: for somebody to act, when it says it is closed
BREAKER_PROBE_MAX_S: Final = 900.0  # seconds: what a destination that was mended waits at most
DESTINATIONS_OPEN_MAX: Final = 256  # destinations: kept ready; each may have a few idle threads
WAKES_PER_TURN: Final = 64  # knocks: taken at once, then others have the loop
WORKFLOW_VERSIONS_REREAD_S: Final = 5.0  # seconds: between two looks at siblings' snapshots
BREAKERS_MAX: Final = 100_000  # destinations: whose failures are remembered, the last used ones
FOLDER_FORGET_S: Final = 1.0  # seconds: that an ending attempt waits for its part to be removed
GUARD_RESOLVERS: Final = 4  # threads: that ask the name server at once
GUARD_ADDRESSES_MAX: Final = 64  # addresses: of one name; the largest providers give a dozen
GUARD_DIAL_S: Final = 10.0  # seconds: for a name server, and for a server to take a connection
GUARD_HEAD_S: Final = 10.0  # seconds: for a library of our own process to say what it wants
GUARD_HEAD_BYTES_MAX: Final = 65_536  # bytes: of that; a signed request has 1,000
GUARD_READ_BYTES: Final = 262_144  # bytes: moved at once; held at most twice a connection
GUARD_IDLE_S: Final = 180.0  # seconds: without a byte either way; an attempt has ended by then
GUARD_CONNECTIONS_MAX: Final = 512  # connections: 16 for each attempt that can run
S3_PART_BYTES: Final = 5_242_880  # bytes: the least that S3 takes for a part; less is one request
S3_PARTS_MAX: Final = 10_000  # parts: of one object; so a part of a TiB has 105 MiB
S3_PARTS_IN_FLIGHT: Final = 2  # parts: of one object at once; each is held in memory
S3_KEY_BYTES_MAX: Final = 1_024  # bytes: of a prefix, the folders and the name
S3_REQUEST_S: Final = 60.0  # seconds: for one part, 700 kbit/s; half of what an attempt may stall
S3_RETRIES: Final = 3  # tries: of one request again within an attempt; then the attempt waits
S3_RETRY_S: Final = 30.0  # seconds: that these may take together
S3_ABORT_S: Final = 5.0  # seconds: that an ending attempt waits for its parts to be given up
S3_ANSWER_CHARS_MAX: Final = 4_096  # characters: of an error that are searched for its word
FOLDER_THREADS: Final = 4  # threads: of one folder; one that hangs holds up its own folder only
OBJECT_BYTES: Final = 8_388_608  # bytes: of a fast upload in one object; less costs round trips
OBJECT_BYTES_MIN: Final = 1_048_576  # bytes: the same while many uploads share the memory
OBJECT_PUTS_IN_FLIGHT: Final = 4  # objects: of one upload at once; then its sender waits
OBJECTS_MEMORY_BYTES_MAX: Final = 268_435_456  # bytes: sealed and not yet in the store, of all
OBJECT_CHANGE_TRIES: Final = 16  # tries: of a change that others come before, each a round trip
OBJECT_CLEAN_S: Final = 5.0  # seconds: that an ending writer takes to remove what counts nowhere
OBJECT_PROBE_S: Final = 10.0  # seconds: between two looks at a store, so that its loss is seen
OBJECT_LOOK_S: Final = 3_600.0  # seconds: between two looks for what crashed writers left
OBJECT_ORPHAN_S: Final = 86_400.0  # seconds: unlisted for longer, nobody is at it any more
OBJECT_TOMBSTONE_S: Final = 604_800.0  # seconds: 7 days; the slowest writer marks within 4
OBJECTS_DELETED_TOGETHER: Final = 1_000  # objects: as many as one request of S3 may name

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
DESTINATION_ADDRESS_CHARS_MAX: Final = 1_024  # characters: a path, or a bucket and a prefix
DESTINATION_ENDPOINT_CHARS_MAX: Final = 300  # characters: a scheme, a name of 253 and a port
DESTINATION_SECRET_CHARS_MAX: Final = 256  # characters: of a key id or a key; AWS uses 20 and 40
DESTINATION_SECRET_BYTES_MAX: Final = 4_096  # bytes: of a sealed secret; quotes may double in JSON
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
READYZ_PAUSE_S: Final = 0.1  # seconds: until one that is not ready yet is asked again
READYZ_BYTES_MAX: Final = 65_536  # bytes: of one /readyz that is read
READY_FILE_BYTES_MAX: Final = 65_536  # bytes: a bigger ready.json is not ours
LEFTOVER_WAIT_S: Final = 20.0  # seconds: that a start waits for ports of an earlier run's processes
DISK_FREE_BYTES_MIN: Final = 67_108_864  # bytes: less room than this is a full disk in waiting
OPEN_FILES_MIN: Final = 1_024  # descriptors: what one process needs for some hundred connections

# --- ops: send ---

SEND_FILES_MAX: Final = 10_000  # files: of one call; each is a line of the report
SEND_AT_ONCE_MAX: Final = 32  # files: on their way at once; more share the same line
SEND_READ_BYTES: Final = 1_048_576  # bytes: read at once, and so the memory of one upload
SEND_WRITE_BYTES: Final = 65_536  # bytes: what must leave within SEND_STALL_S: 2 KiB/s is enough
SEND_PART_BYTES: Final = 67_108_864  # bytes: of one PATCH; what a lost machine may cost
SEND_RETRY_FIRST_S: Final = 0.5  # seconds: the first pause is drawn from 0 to this
SEND_RETRY_MAX_S: Final = 15.0  # seconds: doubled at each failure in a row up to this
SEND_RETRY_AFTER_MAX_S: Final = 120.0  # seconds: of Retry-After that is obeyed
SEND_REGION_FAILURES_MAX: Final = 6  # failures in a row: then another region is asked for
SEND_BEGINS_MAX: Final = 10  # uploads: begun for one file; a node that loses more is broken
SEND_PATIENCE_S: Final = 600.0  # seconds: without a byte taken, then the file is given up
SEND_CONNECT_S: Final = 10.0  # seconds: until a connection stands
SEND_STALL_S: Final = 30.0  # seconds: in which nothing leaves, then the connection is dropped
SEND_ANSWER_S: Final = 90.0  # seconds: for an answer; what the kernel holds must arrive first
SEND_ANSWER_BYTES_MAX: Final = 262_144  # bytes: of an answer that is read
SEND_POLL_FIRST_S: Final = 0.25  # seconds: until control is asked about an upload again
SEND_POLL_MAX_S: Final = 5.0  # seconds: the pauses grow to this
SEND_POLLS_MAX: Final = 4  # questions: to control at once, for all files
SEND_SETTLE_S: Final = 10.0  # seconds: for reports of deliveries that the destruction overtook
SEND_FOLLOW_S: Final = 3_600.0  # seconds: that deliveries are waited for
SEND_AWAY_S: Final = 30.0  # seconds: without an answer of control, then deliveries are not followed
SEND_LEAVE_S: Final = 3.0  # seconds: after Ctrl-C, to end unfinished uploads
SEND_TOKEN_BYTES_MAX: Final = 4_096  # bytes: of a token's file; a token has some 70

# --- ops: doctor ---

DOCTOR_ANSWER_S: Final = 15.0  # seconds: for a connection, a handshake, each answer
DOCTOR_LINE_BYTES_MAX: Final = 4_096  # bytes: of one line of a server
DOCTOR_LINES_MAX: Final = 64  # lines: of one reply; longer ones are no FTP
DOCTOR_LIST_BYTES_MAX: Final = 65_536  # bytes: of a list that is read, then it is enough
DOCTOR_ADDRESSES_MAX: Final = 8  # addresses: of one name that are dialled
DOCTOR_IDLE_S_MAX: Final = 900.0  # seconds: of silence that may be asked for
DOCTOR_PASSWORD_BYTES_MAX: Final = 1_024  # bytes: of a password's file

# --- relations ---

assert LINK_HEARTBEAT_S_MIN <= FLEET_HEARTBEAT_S <= LINK_HEARTBEAT_S_MAX
assert LINK_HEARTBEAT_S_MAX < FLEET_LATE_S < FLEET_LOST_S, "a beat may come late, not be late"
assert FLEET_KNOCKS_MAX * LINK_LONG_WAIT_S < FLEET_KNOCKS_WINDOW_S, "a clone's knocks must count"
assert AUDIT_BYTES_MAX + 2 * OUTBOX_SEGMENT_BYTES < OUTBOX_BYTES_MAX, "the chain always has room"
assert LINK_RETRY_MAX_S <= LINK_LONG_WAIT_S / 2, "to wait for a person is to wait longer"
assert FLEET_COMMANDS_MAX + FLEET_TRACES_AT_ONCE < FLEET_OUTBOUND_MAX, (
    "commands alone fill no queue"
)
assert FLEET_COMMANDS_MAX + FLEET_TRACES_AT_ONCE < LINK_REPLIES_MAX, "nor do their answers"
assert UNFINISHED_S < RECEIVING_KEPT_S, "its node ends an upload before control forgets it"
assert FTP_LAST_WORD_S < LEAVE_AT_ONCE_S, "sessions end before the door's own time is up"
