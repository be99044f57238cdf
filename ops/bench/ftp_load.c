/* Sends files by FTP and measures them: the load of `make bench-ftp`.
 *
 * A thread for each connection, blocking.  In C so that the server, on the other core, is what is
 * measured: the share of its core that it used is part of what it prints.
 *
 *   load PORT MODE COUNT CONNECTIONS BYTES USER PASSWORD
 *
 * MODE `stor`: COUNT files over CONNECTIONS sessions; prints `ready` when all are signed in, and
 * begins at a byte of its standard input.  `login`: COUNT times a new session, one file and its end.  `idle`: COUNT
 * sessions that are signed in and say nothing; prints `ready` and ends with its standard input.  The
 * others print a line of JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_ = 4096, PIECE = 1 << 20, PER_SOURCE = 400, BUFFER = 1 << 20 };

struct session {
    int fd;
    uint32_t source; /* the address that data comes from too */
    size_t have, at;
    char read[LINE_MAX_];
};

static int port, is_login;
static uint64_t count, size;
static const char *user, *password;
static char *piece;
static double *seconds;
static atomic_uint_fast64_t next_number;
static atomic_int ready;
static pthread_barrier_t signed_in;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void die(const char *what, const char *said) {
    fprintf(stderr, "load: %s: %s\n", what, said ? said : strerror(errno));
    exit(1);
}

static int dialled(int where, uint32_t source) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0) die("socket", NULL);
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(source)};
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(fd, (void *)&from, sizeof from)) die("bind", NULL);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(where)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (void *)&to, sizeof to)) die("connect", NULL);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* Returns the code of the next reply; its last line is in `line`. */
static int heard(struct session *s, char *line) {
    size_t length = 0;
    for (;;) {
        if (s->at == s->have) {
            ssize_t got = recv(s->fd, s->read, sizeof s->read, 0);
            if (got <= 0) die("the control connection ended", got ? NULL : "no reply");
            s->have = got, s->at = 0;
        }
        char c = s->read[s->at++];
        if (length < LINE_MAX_ - 1) line[length++] = c;
        if (c != '\n') continue;
        line[length] = 0;
        if (length > 3 && line[3] == ' ' && line[0] >= '1' && line[0] <= '5') return atoi(line);
        length = 0; /* a line of several */
    }
}

static int said(struct session *s, char *line, const char *verb, const char *argument) {
    char text[512];
    int length = snprintf(text, sizeof text, *argument ? "%s %s\r\n" : "%s%s\r\n", verb, argument);
    if (send(s->fd, text, length, MSG_NOSIGNAL) != length) die(verb, NULL);
    return heard(s, line);
}

static void begin(struct session *s, uint32_t source) {
    char line[LINE_MAX_];
    memset(s, 0, sizeof *s);
    s->source = source;
    s->fd = dialled(port, source);
    if (heard(s, line) != 220) die("greeting", line);
    int code = said(s, line, "USER", user);
    if (code == 331) code = said(s, line, "PASS", password);
    if (code != 230) die("sign-in", line);
    if (said(s, line, "TYPE", "I") != 200) die("TYPE", line);
}

static void store(struct session *s, uint64_t number) {
    char line[LINE_MAX_], name[32];
    double began = now();
    if (said(s, line, "EPSV", "") != 229) die("EPSV", line);
    char *bars = strstr(line, "|||");
    if (!bars) die("EPSV", line);
    int data = dialled(atoi(bars + 3), s->source);
    snprintf(name, sizeof name, "f%06llu.bin", (unsigned long long)number);
    int code = said(s, line, "STOR", name);
    if (code != 150 && code != 125) die("STOR", line);
    for (uint64_t left = size; left;) {
        ssize_t sent = send(data, piece, left < PIECE ? left : PIECE, MSG_NOSIGNAL);
        if (sent < 0) die("data", NULL);
        left -= sent;
    }
    close(data);
    if (heard(s, line) != 226) die("end of STOR", line);
    seconds[number] = now() - began;
}

static void *lived(void *unused) {
    struct session s;
    char line[LINE_MAX_];
    uint64_t number;
    if (!is_login) begin(&s, INADDR_LOOPBACK);
    atomic_fetch_add(&ready, 1);
    pthread_barrier_wait(&signed_in);
    while ((number = atomic_fetch_add(&next_number, 1)) < count) {
        double began = now();
        if (is_login) begin(&s, INADDR_LOOPBACK);
        store(&s, number);
        if (!is_login) continue;
        said(&s, line, "QUIT", "");
        close(s.fd);
        seconds[number] = now() - began;
    }
    if (!is_login) said(&s, line, "QUIT", "");
    return unused;
}

static void *idled(void *unused) {
    uint64_t number;
    while ((number = atomic_fetch_add(&next_number, 1)) < count) {
        struct session s; /* its socket stays open */
        begin(&s, INADDR_LOOPBACK + 0x100 + number / PER_SOURCE);
    }
    return unused;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc != 8) die("usage", "load PORT MODE COUNT CONNECTIONS BYTES USER PASSWORD");
    port = atoi(argv[1]);
    is_login = !strcmp(argv[2], "login");
    int is_idle = !strcmp(argv[2], "idle"), threads = atoi(argv[4]);
    count = strtoull(argv[3], NULL, 10), size = strtoull(argv[5], NULL, 10);
    user = argv[6], password = argv[7];
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    piece = malloc(PIECE), seconds = calloc(count, sizeof *seconds);
    for (size_t i = 0; i < PIECE; i++) piece[i] = (char)(i * 2654435761u >> 13);
    pthread_t *all = calloc(threads, sizeof *all);
    pthread_barrier_init(&signed_in, NULL, threads + 1);
    for (int i = 0; i < threads; i++)
        if (pthread_create(&all[i], NULL, is_idle ? idled : lived, NULL)) die("thread", NULL);
    if (!is_idle && !is_login) {
        while (atomic_load(&ready) < threads) usleep(1000);
        puts("ready");
        fflush(stdout);
        if (getchar() == EOF) return 1;
    }
    if (!is_idle) pthread_barrier_wait(&signed_in);
    double began = now();
    for (int i = 0; i < threads; i++) pthread_join(all[i], NULL);
    double took = now() - began;
    if (is_idle) {
        puts("ready");
        fflush(stdout);
        while (getchar() != EOF) continue;
        return 0;
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec +
                 (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
    qsort(seconds, count, sizeof *seconds, by_value);
    printf("{\"seconds\": %.6f, \"p99_s\": %.6f, \"cpu_s\": %.6f}\n", took,
           seconds[(count - 1) * 99 / 100], cpu);
    return 0;
}
