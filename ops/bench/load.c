/* Sends uploads over keep-alive connections and measures them: the load of `make bench-http`.
 *
 * One thread, one epoll.  Written in C so that the server, on the other core, is what is measured:
 * the share of its core that it used is part of what it prints.
 *
 *   load HOST PORT MODE COUNT CONNECTIONS BYTES RATE HEAD
 *
 * MODE is `put` (one request an upload) or `tus` (a creation, then a PATCH to its address).  RATE is
 * bytes a second and connection, 0 for as fast as it goes.  HEAD is a file with the head of the
 * request; `@` stands for the number of the upload.  For `tus` it holds two heads, the second
 * with `$` for the path of the upload.  Prints one line of JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 8192, ANSWER_MAX = 65536, PIECE = 1 << 20, TICKS = 10, RAMP = 50 };

struct connection {
    int fd, step; /* step 0: the creation of `tus`, or the whole of `put`; 1: the PATCH */
    char head[HEAD_MAX], answer[ANSWER_MAX + 1];
    size_t head_size, head_sent, answer_size;
    uint64_t body, sent, allowed;
    double began;
    int is_busy, is_armed;
};

static struct sockaddr_in peer;
static int loop_fd, is_tus;
static uint64_t count, begun, ended, failed, body_size, rate;
static char first[HEAD_MAX], second[HEAD_MAX];
static char *piece;
static double *seconds;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static size_t fill(char *to, const char *from, uint64_t number, const char *path) {
    size_t at = 0;
    for (; *from; from++) {
        if (at > HEAD_MAX - 2048) die("the head is too long");
        if (*from == '@') at += sprintf(to + at, "%llu", (unsigned long long)number);
        else if (*from == '$' && path) at += sprintf(to + at, "%.1024s", path);
        else to[at++] = *from;
    }
    return at;
}

static void arm(struct connection *c, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(loop_fd, c->is_armed ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &event)) die("epoll");
    c->is_armed = 1;
}

static void open_connection(struct connection *c) {
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&peer, sizeof peer)) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->is_armed = 0;
}

static void start(struct connection *c) {
    c->is_busy = begun < count;
    if (!c->is_busy) {
        arm(c, 0);
        return;
    }
    c->step = 0;
    c->head_size = fill(c->head, first, begun++, NULL);
    c->body = is_tus ? 0 : body_size;
    c->head_sent = c->answer_size = c->sent = 0;
    c->allowed = rate ? rate / TICKS : UINT64_MAX;
    c->began = now();
    arm(c, EPOLLIN | EPOLLOUT);
}

static void fail(struct connection *c) {
    if (failed++ < 3) fprintf(stderr, "load: refused: %.200s\n", c->answer);
    close(c->fd);
    open_connection(c);
    ended++;
    start(c);
}

static void send_more(struct connection *c) {
    while (c->head_sent < c->head_size) {
        int more = c->body ? MSG_MORE : 0;
        ssize_t n = send(c->fd, c->head + c->head_sent, c->head_size - c->head_sent, MSG_NOSIGNAL | more);
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) return fail(c);
        c->head_sent += n;
    }
    for (int turn = 0; c->sent < c->body && turn < 4; turn++) {
        uint64_t left = c->body - c->sent, may = c->allowed - c->sent;
        size_t want = left < PIECE ? left : PIECE;
        if (want > may) want = may;
        if (!want) return arm(c, EPOLLIN);
        ssize_t n = send(c->fd, piece, want, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) return fail(c);
        c->sent += n;
    }
    if (c->sent == c->body) arm(c, EPOLLIN);
}

static char *field(char *head, const char *name) {
    char *found = strcasestr(head, name);
    return found ? found + strlen(name) : NULL;
}

static void answered(struct connection *c, char *end) {
    int status = atoi(c->answer + 9);
    if (status < 200 || status > 299) return fail(c);
    if (is_tus && c->step == 0) {
        char *path = field(c->answer, "\nlocation:");
        if (!path) return fail(c);
        path += strspn(path, " ");
        path[strcspn(path, "\r\n")] = 0;
        char *host = strstr(path, "://");
        if (host) path = strchr(host + 3, '/');
        char kept[1025];
        snprintf(kept, sizeof kept, "%s", path);
        c->step = 1;
        c->head_size = fill(c->head, second, 0, kept);
        c->body = body_size;
        c->head_sent = c->answer_size = c->sent = 0;
        return arm(c, EPOLLIN | EPOLLOUT);
    }
    seconds[ended - failed] = now() - c->began;
    ended++;
    int closes = strcasestr(c->answer, "\nconnection: close") != NULL;
    (void)end;
    if (closes) {
        close(c->fd);
        open_connection(c);
    }
    start(c);
}

static void read_more(struct connection *c) {
    ssize_t n = recv(c->fd, c->answer + c->answer_size, ANSWER_MAX - c->answer_size, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        c->answer[c->answer_size] = 0;
        if (c->is_busy) return fail(c);
        return arm(c, 0);
    }
    c->answer_size += n;
    c->answer[c->answer_size] = 0;
    char *end = strstr(c->answer, "\r\n\r\n");
    if (!end) return;
    if (!strncmp(c->answer + 9, "100", 3)) {
        memmove(c->answer, end + 4, c->answer_size -= end + 4 - c->answer);
        return;
    }
    char *length = field(c->answer, "\ncontent-length:");
    size_t whole = end + 4 - c->answer + (length && length < end ? atoi(length) : 0);
    if (c->answer_size >= whole) answered(c, end);
}

static int by_value(const void *a, const void *b) {
    double x = *(double *)a, y = *(double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc != 9) {
        fprintf(stderr, "load HOST PORT MODE COUNT CONNECTIONS BYTES RATE HEAD\n");
        return 2;
    }
    peer.sin_family = AF_INET;
    peer.sin_port = htons(atoi(argv[2]));
    inet_pton(AF_INET, argv[1], &peer.sin_addr);
    is_tus = !strcmp(argv[3], "tus");
    count = strtoull(argv[4], 0, 10);
    size_t many = strtoull(argv[5], 0, 10);
    body_size = strtoull(argv[6], 0, 10);
    rate = strtoull(argv[7], 0, 10);
    FILE *file = fopen(argv[8], "r");
    if (!file) die(argv[8]);
    static char both[2 * HEAD_MAX];
    size_t size = fread(both, 1, sizeof both - 1, file);
    both[size] = 0;
    char *end = strstr(both, "\r\n\r\n");
    if (!end) die("no end of the head");
    memcpy(first, both, end + 4 - both);
    strncpy(second, end + 4, HEAD_MAX - 1);
    piece = malloc(PIECE);
    for (size_t i = 0; i < PIECE; i++) piece[i] = (char)((i * 2654435761u) >> 13);
    seconds = calloc(count + 1, sizeof *seconds);
    struct connection *all = calloc(many, sizeof *all);
    loop_fd = epoll_create1(0);
    for (size_t i = 0; i < many; i++) open_connection(&all[i]);
    double began = now(), tick = began + 1.0 / TICKS;
    size_t started = 0; /* slow clients come over RAMP ticks: people do not all begin at once */
    while (!rate && started < many) start(&all[started++]);
    struct epoll_event events[256];
    while (ended < count) {
        int found = epoll_wait(loop_fd, events, 256, rate ? 10 : 1000);
        for (int i = 0; i < found; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_more(c);
            else if (events[i].events & EPOLLOUT) send_more(c);
        }
        for (; rate && now() >= tick; tick += 1.0 / TICKS) {
            for (size_t n = 0; n <= many / RAMP && started < many; n++) start(&all[started++]);
            for (size_t i = 0; i < many; i++)
                if (all[i].is_busy && all[i].body) {
                    all[i].allowed += rate / TICKS;
                    if (all[i].sent < all[i].body) arm(&all[i], EPOLLIN | EPOLLOUT);
                }
        }
    }
    double took = now() - began;
    uint64_t good = ended - failed;
    qsort(seconds, good, sizeof *seconds, by_value);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec +
                 (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
    printf("{\"seconds\": %.6f, \"uploads\": %llu, \"failed\": %llu, \"p50_s\": %.6f, "
           "\"p99_s\": %.6f, \"cpu_s\": %.3f}\n",
           took, (unsigned long long)good, (unsigned long long)failed,
           good ? seconds[good / 2] : 0, good ? seconds[(size_t)(good * 0.99)] : 0, cpu);
    return failed ? 1 : 0;
}
