/* Many TFTP clients in one thread: tftp_load ADDRESS NAME FILE TRANSFERS BLOCK_SIZE WINDOW
 *
 * Asks for NAME TRANSFERS times at once and compares every byte with FILE. WINDOW 0 asks for no windowsize, BLOCK_SIZE 0
 * for no blksize. Says what became of it as one line of JSON. A client repeats what it said last after a second of
 * silence, acknowledges whole windows, and at once where a block is missing (RFC 7440 section 4).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RRQ = 1, DATA = 3, ACK = 4, ERROR = 5, OACK = 6 };
enum { BATCH = 64, LARGEST = 65536, REPEAT_MS = 1000, PATIENCE_MS = 30000 };

struct transfer {
    int sock, connected, over, failed, window, since, gap;
    size_t block_size;
    uint64_t blocks; /* received in order */
    size_t bytes;
    long heard_ms, said_ms;
    unsigned char said[600];
    size_t said_length;
};

static struct sockaddr_in server;
static const unsigned char *file;
static size_t file_size;
static long repeats, wrong;
static int left;
static unsigned char *room[BATCH];

static long now_ms(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000 + at.tv_nsec / 1000000;
}

static double seconds(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void say(struct transfer *it, long now)
{
    it->said_ms = now;
    if (it->connected)
        send(it->sock, it->said, it->said_length, 0);
    else
        sendto(it->sock, it->said, it->said_length, 0, (struct sockaddr *)&server, sizeof server);
}

static void acknowledge(struct transfer *it, long now)
{
    it->said[0] = 0;
    it->said[1] = ACK;
    it->said[2] = (it->blocks >> 8) & 0xff;
    it->said[3] = it->blocks & 0xff;
    it->said_length = 4;
    it->since = 0;
    say(it, now);
}

static void end(struct transfer *it, int failed)
{
    if (it->over)
        return;
    it->over = 1;
    it->failed = failed;
    left--;
    close(it->sock);
}

static void options(struct transfer *it, const char *at, const char *end_of)
{
    while (at < end_of) {
        const char *name = at, *value = memchr(name, 0, end_of - name);
        if (!value || ++value >= end_of)
            return;
        if (!strcasecmp(name, "blksize"))
            it->block_size = atoi(value);
        else if (!strcasecmp(name, "windowsize"))
            it->window = atoi(value);
        at = value + strnlen(value, end_of - value) + 1;
    }
}

static void data(struct transfer *it, const unsigned char *packet, size_t length, long now)
{
    unsigned block = packet[2] << 8 | packet[3];
    size_t size = length - 4;
    if (block != ((it->blocks + 1) & 0xffff)) {
        /* One ACK for a run of blocks behind a gap; copies of old blocks are answered only without a window. */
        int old = (uint16_t)(it->blocks - block) < 32768;
        if (it->window == 1 ? old : !it->gap)
            acknowledge(it, now);
        it->gap = it->window != 1;
        return;
    }
    it->gap = 0;
    if (it->bytes + size > file_size || memcmp(file + it->bytes, packet + 4, size)) {
        wrong++;
        end(it, 1);
        return;
    }
    it->blocks++;
    it->bytes += size;
    if (size < it->block_size) {
        acknowledge(it, now);
        if (it->bytes != file_size)
            wrong++;
        end(it, it->bytes != file_size);
    } else if (++it->since >= it->window)
        acknowledge(it, now);
}

static void receive(struct transfer *it, long now)
{
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    struct sockaddr_in from;
    int wanted = it->connected && it->window < BATCH ? it->window : it->connected ? BATCH : 1;
    memset(messages, 0, sizeof messages[0] * wanted);
    for (int i = 0; i < wanted; i++) {
        parts[i].iov_base = room[i];
        parts[i].iov_len = LARGEST;
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    if (!it->connected) {
        messages[0].msg_hdr.msg_name = &from;
        messages[0].msg_hdr.msg_namelen = sizeof from;
    }
    int count = recvmmsg(it->sock, messages, wanted, MSG_DONTWAIT, NULL);
    if (count < 0) {
        if (errno != EAGAIN && errno != EINTR)
            end(it, 1);
        return;
    }
    if (!it->connected) {
        connect(it->sock, (struct sockaddr *)&from, sizeof from);
        it->connected = 1;
    }
    it->heard_ms = now;
    for (int i = 0; i < count && !it->over; i++) {
        unsigned char *packet = room[i];
        size_t length = messages[i].msg_len;
        if (length < 4 || packet[0])
            continue;
        if (packet[1] == DATA)
            data(it, packet, length, now);
        else if (packet[1] == OACK && !it->blocks) {
            options(it, (char *)packet + 2, (char *)packet + length);
            acknowledge(it, now);
        } else if (packet[1] == ERROR) {
            fprintf(stderr, "error %d: %.*s\n", packet[3], (int)length - 4, packet + 4);
            end(it, 1);
        }
    }
}

static size_t option(unsigned char *at, const char *name, int value)
{
    size_t length = strlen(name) + 1;
    memcpy(at, name, length);
    return length + sprintf((char *)at + length, "%d", value) + 1;
}

static void begin(struct transfer *it, const char *name, int block_size, int window, int poll, long now)
{
    int buffer = 4 << 20;
    memset(it, 0, sizeof *it);
    it->sock = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    setsockopt(it->sock, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
    it->block_size = 512;
    it->window = 1;
    it->heard_ms = now;
    unsigned char *at = it->said;
    *at++ = 0;
    *at++ = RRQ;
    at += sprintf((char *)at, "%s", name) + 1;
    at += sprintf((char *)at, "octet") + 1;
    if (block_size)
        at += option(at, "blksize", block_size);
    if (window)
        at += option(at, "windowsize", window);
    it->said_length = at - it->said;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = it};
    epoll_ctl(poll, EPOLL_CTL_ADD, it->sock, &event);
    say(it, now);
}

static void look_at_clocks(struct transfer *all, int count, long now)
{
    for (int i = 0; i < count; i++) {
        struct transfer *it = &all[i];
        if (it->over)
            continue;
        if (now - it->heard_ms > PATIENCE_MS)
            end(it, 1);
        else if (now - it->said_ms > REPEAT_MS) {
            repeats++;
            it->gap = 0;
            say(it, now);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 7)
        return 2;
    int count = atoi(argv[4]), block_size = atoi(argv[5]), window = atoi(argv[6]);
    int poll = epoll_create1(0), handle = open(argv[3], O_RDONLY);
    struct stat about;
    if (handle < 0 || fstat(handle, &about))
        return 2;
    file_size = about.st_size;
    file = mmap(NULL, file_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, handle, 0);
    server.sin_family = AF_INET;
    server.sin_port = htons(69);
    inet_pton(AF_INET, argv[1], &server.sin_addr);
    for (int i = 0; i < BATCH; i++)
        room[i] = malloc(LARGEST);
    struct transfer *all = calloc(count, sizeof *all);
    left = count;
    double begun = seconds();
    long clocks = now_ms();
    for (int i = 0; i < count; i++)
        begin(&all[i], argv[2], block_size, window, poll, clocks);
    while (left) {
        struct epoll_event events[256];
        int ready = epoll_wait(poll, events, 256, 100);
        long now = now_ms();
        for (int i = 0; i < ready; i++) {
            struct transfer *it = events[i].data.ptr;
            if (!it->over)
                receive(it, now);
        }
        if (now - clocks >= 100) {
            look_at_clocks(all, count, now);
            clocks = now;
        }
    }
    double took = seconds() - begun;
    int failed = 0;
    size_t bytes = 0;
    for (int i = 0; i < count; i++) {
        failed += all[i].failed;
        bytes += all[i].bytes;
    }
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    printf("{\"seconds\": %.6f, \"bytes\": %zu, \"failed\": %d, \"wrong\": %ld, \"repeats\": %ld, \"cpu\": %.6f}\n", took, bytes,
           failed, wrong, repeats, used.tv_sec + used.tv_nsec / 1e9);
    return failed ? 1 : 0;
}
