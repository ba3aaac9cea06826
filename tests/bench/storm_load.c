/* A hall that powers on, in one thread: storm_load SERVER LOCAL MACHINES FILE SECONDS
 *
 * Every machine asks for an address as its firmware, loads iPXE by TFTP, asks again as iPXE, loads its script and FILE
 * by HTTP, and registers with the ticket of its script. LOCAL is the relay all of them are behind. Bytes of FILE are
 * counted and thrown away in the kernel, and the times of DHCP replies are the kernel's: what is measured is not us.
 * Prints one line of JSON: what each step took, in seconds from what was sent first, and which machines failed at what.
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum step { FIRST_OFFER, FIRST_ACK, TFTP, NEXT_OFFER, NEXT_ACK, SCRIPT, DOWNLOAD, REGISTER, DONE, FAILED };
enum { DISCOVER = 1, OFFER, REQUEST, ACK = 5, NAK, TRIES = 5, BLOCK = 1428, AT_ONCE = 64, HTTP_PORT = 8091 };
enum { STALL_SECONDS = 60, READ_SECONDS = 5, LOOK_MS = 20 };
/* What iPXE takes (half of what the kernel counts). Windows as large as hosts have would fill the memory that the kernel
 * has for TCP a thousand times over, and it is one kernel for both ends here. */
enum { WINDOW = 256 << 10 };

static const char *const NAMES[] = {"first_offer", "first_ack", "tftp",     "next_offer", "next_ack",
                                    "script",      "download",  "register", "done",       "failed"};
static const double PATIENCE[TRIES] = {1, 2, 4, 8, 8};

struct machine {
    int fd, tries, heard, sent_request, status;
    enum step step;
    uint32_t xid, address, chosen;
    double began, deadline, first_sent, took[DONE];
    unsigned next_block;
    char name[160], path[200], ticket[1500], bootenv[80], why[160];
    char *text;
    size_t have, length, body;
};

static struct machine *machines;
static int count, left, poll_fd, relay_fd;
static struct sockaddr_in server;
static in_addr_t local;
static const char *file;
static long resent;
static uint64_t carried;
static double limit, loading_from, loading_until;

static double clock_of(clockid_t which)
{
    struct timespec at;
    clock_gettime(which, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static double now(void) { return clock_of(CLOCK_MONOTONIC); }

static void hang_up(struct machine *it)
{
    if (it->fd >= 0)
        close(it->fd);
    it->fd = -1;
}

static void fail(struct machine *it, const char *why)
{
    snprintf(it->why, sizeof it->why, "%s: %.120s", NAMES[it->step], why);
    hang_up(it);
    it->step = FAILED;
    left--;
}

static int watch(struct machine *it, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u32 = (uint32_t)(it - machines)};
    return epoll_ctl(poll_fd, EPOLL_CTL_ADD, it->fd, &event);
}

/* --- DHCP ---------------------------------------------------------------------------------------------------- */

static unsigned char *put(unsigned char *at, int code, const void *value, size_t length)
{
    *at++ = (unsigned char)code;
    *at++ = (unsigned char)length;
    memcpy(at, value, length);
    return at + length;
}

static const unsigned char *option(const unsigned char *data, size_t size, int wanted, size_t *length)
{
    for (size_t at = 240; at + 1 < size && data[at] != 255; at += data[at] ? 2 + data[at + 1] : 1)
        if (data[at] == wanted && at + 2 + data[at + 1] <= size) {
            *length = data[at + 1];
            return data + at + 2;
        }
    *length = 0;
    return NULL;
}

static void identity(const struct machine *it, unsigned char uuid[16])
{
    uint32_t number = htonl((uint32_t)(it - machines));
    memset(uuid, 0, 16);
    uuid[3] = 0x10;
    memcpy(uuid + 12, &number, 4);
}

static void dhcp_send(struct machine *it)
{
    unsigned char data[600] = {1, 1, 6, 1}, uuid[17] = {0}, *at = data + 240;
    uint32_t number = htonl((uint32_t)(it - machines)), xid = htonl(it->xid);
    int ipxe = it->step >= NEXT_OFFER, request = it->step == FIRST_ACK || it->step == NEXT_ACK;
    unsigned char kind = request ? REQUEST : DISCOVER;
    memcpy(data + 4, &xid, 4);
    memcpy(data + 24, &local, 4);
    data[28] = 0x02;
    data[29] = 0x88;
    memcpy(data + 30, &number, 4);
    memcpy(data + 236, "\x63\x82\x53\x63", 4);
    identity(it, uuid + 1);
    at = put(at, 53, &kind, 1);
    at = put(at, 55, "\1\3\6\14\17\53\66\74\102\103\141", 11);
    at = put(at, 57, "\5\300", 2);
    at = put(at, 93, "\0\7", 2);
    at = put(at, 60, "PXEClient:Arch:00007:UNDI:003016", 32);
    at = put(at, 97, uuid, 17);
    if (ipxe) {
        at = put(at, 77, "iPXE", 4);
        at = put(at, 175, "\23\1\1", 3);
    }
    if (request) {
        at = put(at, 54, &it->chosen, 4);
        at = put(at, 50, &it->address, 4);
    }
    *at++ = 255;
    if (!it->tries)
        it->first_sent = clock_of(CLOCK_REALTIME);
    else
        resent++;
    it->deadline = now() + PATIENCE[it->tries];
    sendto(relay_fd, data, (size_t)(at - data), 0, (struct sockaddr *)&server, sizeof server);
}

static void ask(struct machine *it, enum step step)
{
    it->step = step;
    it->xid = (uint32_t)(it - machines) * 4 + (step >= NEXT_OFFER ? 2 : 1);
    it->tries = 0;
    dhcp_send(it);
}

static void tftp_begin(struct machine *it);
static void http_begin(struct machine *it, enum step step, const char *path);

static void dhcp_answer(const unsigned char *data, size_t size, double at)
{
    size_t length;
    uint32_t xid, address;
    memcpy(&xid, data + 4, 4);
    xid = ntohl(xid);
    if (xid / 4 >= (uint32_t)count)
        return;
    struct machine *it = &machines[xid / 4];
    const unsigned char *kind = option(data, size, 53, &length);
    int offered = it->step == FIRST_OFFER || it->step == NEXT_OFFER;
    int acked = it->step == FIRST_ACK || it->step == NEXT_ACK;
    /* A second offer, for what was sent again, is no answer to the request. */
    if (!kind || it->xid != xid || !((offered && *kind == OFFER) || (acked && (*kind == ACK || *kind == NAK))))
        return;
    it->took[it->step] = at - it->first_sent;
    memcpy(&address, data + 16, 4);
    if (offered) {
        const unsigned char *chosen = option(data, size, 54, &length);
        if (!chosen || length != 4) {
            fail(it, "no server identifier");
            return;
        }
        memcpy(&it->chosen, chosen, 4);
        it->address = address;
        ask(it, it->step + 1);
        return;
    }
    if (*kind != ACK || address != it->address) {
        fail(it, "no ACK of what was offered");
        return;
    }
    const unsigned char *name = option(data, size, 67, &length);
    if (!name) {
        name = data + 108;
        length = strnlen((const char *)name, 128);
    }
    snprintf(it->name, sizeof it->name, "%.*s", (int)length, (const char *)name);
    if (it->step == FIRST_ACK) {
        it->began = now();
        it->tries = 0;
        tftp_begin(it);
        return;
    }
    const char *port = strstr(it->name, ":8091");
    char path[200];
    snprintf(path, sizeof path, "%s%s", port ? "" : "/boot/", port ? port + 5 : it->name);
    http_begin(it, SCRIPT, path);
}

static void relay_drain(void)
{
    unsigned char data[1600], control[128];
    for (;;) {
        struct iovec room = {data, sizeof data};
        struct msghdr message = {
            .msg_iov = &room, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        ssize_t size = recvmsg(relay_fd, &message, 0);
        if (size < 0)
            return;
        double at = clock_of(CLOCK_REALTIME);
        for (struct cmsghdr *each = CMSG_FIRSTHDR(&message); each; each = CMSG_NXTHDR(&message, each))
            if (each->cmsg_level == SOL_SOCKET && each->cmsg_type == SCM_TIMESTAMPNS) {
                struct timespec stamp;
                memcpy(&stamp, CMSG_DATA(each), sizeof stamp);
                at = stamp.tv_sec + stamp.tv_nsec / 1e9;
            }
        if (size > 240)
            dhcp_answer(data, (size_t)size, at);
    }
}

/* --- TFTP ---------------------------------------------------------------------------------------------------- */

/* Each try has a port of its own, so that what comes for an earlier one cannot be mistaken. */
static void tftp_begin(struct machine *it)
{
    char request[300];
    struct sockaddr_in to = server;
    hang_up(it);
    it->step = TFTP;
    it->heard = 0;
    it->next_block = 1;
    it->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (it->fd < 0 || watch(it, EPOLLIN)) {
        fail(it, strerror(errno));
        return;
    }
    int length = snprintf(request, sizeof request, "%c%c%s%coctet%cblksize%c%d", 0, 1, it->name, 0, 0, 0, BLOCK) + 1;
    to.sin_port = htons(69);
    sendto(it->fd, request, (size_t)length, 0, (struct sockaddr *)&to, sizeof to);
    resent += it->tries > 0;
    it->deadline = now() + PATIENCE[it->tries];
}

static void tftp_ack(struct machine *it, unsigned block)
{
    unsigned char data[4] = {0, 4, (unsigned char)(block >> 8), (unsigned char)block};
    send(it->fd, data, 4, 0);
    it->deadline = now() + READ_SECONDS;
}

static void tftp_read(struct machine *it)
{
    unsigned char data[BLOCK + 64];
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    ssize_t size = recvfrom(it->fd, data, sizeof data, 0, (struct sockaddr *)&from, &length);
    if (size < 4)
        return;
    if (!it->heard) {
        if (connect(it->fd, (struct sockaddr *)&from, length)) {
            fail(it, strerror(errno));
            return;
        }
        it->heard = 1;
    }
    unsigned number = (unsigned)data[2] << 8 | data[3];
    if (data[1] == 5) {
        data[size < BLOCK ? size : BLOCK] = 0;
        fail(it, (char *)data + 4);
    } else if (data[1] == 6) {
        tftp_ack(it, 0);
    } else if (data[1] == 3 && number == it->next_block) {
        tftp_ack(it, it->next_block++);
        if (size - 4 < BLOCK) {
            it->took[TFTP] = now() - it->began;
            hang_up(it);
            ask(it, NEXT_OFFER);
        }
    } else if (data[1] == 3 && number + 1 == it->next_block) {
        tftp_ack(it, number);
    }
}

/* --- HTTP ---------------------------------------------------------------------------------------------------- */

static void http_begin(struct machine *it, enum step step, const char *path)
{
    hang_up(it);
    it->step = step;
    snprintf(it->path, sizeof it->path, "%s", path);
    it->sent_request = it->status = 0;
    it->have = it->body = it->length = 0;
    it->began = now();
    if (step == DOWNLOAD && !loading_from)
        loading_from = it->began;
    it->deadline = it->began + STALL_SECONDS;
    it->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in to = server;
    int window = WINDOW;
    to.sin_port = htons(HTTP_PORT);
    setsockopt(it->fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window);
    if (it->fd < 0 || (connect(it->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) ||
        watch(it, EPOLLIN | EPOLLOUT))
        fail(it, strerror(errno));
}

static int card(const struct machine *it, char *room, size_t size)
{
    unsigned number = (unsigned)(it - machines);
    return snprintf(
        room, size,
        "{\"ticket\":\"%s\",\"macs\":[\"02:88:%02x:%02x:%02x:%02x\"],\"arch\":\"amd64\",\"firmware\":\"uefi\","
        "\"bootenv\":\"%s\",\"hostname\":\"hall-%u\",\"address\":\"\",\"identity\":{\"serial\":\"HALL%06u\","
        "\"dmi_uuid\":\"00000010-0000-0000-0000-0000%08x\"}}",
        it->ticket, number >> 24, number >> 16 & 255, number >> 8 & 255, number & 255, it->bootenv, number, number,
        number);
}

static void http_ask(struct machine *it)
{
    char request[4096], body[3000] = "", host[INET_ADDRSTRLEN], about[100] = "";
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)(it - machines)};
    int is_post = it->step == REGISTER;
    inet_ntop(AF_INET, &server.sin_addr, host, sizeof host);
    if (is_post)
        snprintf(about, sizeof about, "Content-Type: application/json\r\nContent-Length: %d\r\n",
                 card(it, body, sizeof body));
    int length = snprintf(request, sizeof request,
                          "%s %s HTTP/1.1\r\nHost: %s:%d\r\nConnection: %s\r\n%s\r\n%s", is_post ? "POST" : "GET",
                          it->path, host, HTTP_PORT, is_post ? "close" : "keep-alive", about, body);
    if (send(it->fd, request, (size_t)length, MSG_NOSIGNAL) != length) {
        fail(it, strerror(errno));
        return;
    }
    it->sent_request = 1;
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, it->fd, &event);
}

static int copy_word(const char *text, const char *after, char *room, size_t size)
{
    const char *at = strstr(text, after);
    if (!at)
        return 0;
    at += strlen(after);
    size_t length = strcspn(at, " \t\r\n");
    if (length >= size)
        return 0;
    memcpy(room, at, length);
    room[length] = 0;
    return 1;
}

static void http_done(struct machine *it)
{
    it->took[it->step] = now() - it->began;
    if (it->status / 100 != 2) {
        char why[60];
        snprintf(why, sizeof why, "status %d", it->status);
        fail(it, why);
    } else if (it->step == SCRIPT) {
        if (!copy_word(it->text, "ticket=", it->ticket, sizeof it->ticket) ||
            !copy_word(it->text, "bootenv=", it->bootenv, sizeof it->bootenv))
            fail(it, "no ticket in the script");
        else
            http_begin(it, DOWNLOAD, file);
    } else if (it->step == DOWNLOAD) {
        carried += it->length;
        loading_until = now();
        http_begin(it, REGISTER, "/api/v1/register");
    } else {
        hang_up(it);
        it->step = DONE;
        left--;
    }
}

/* The head, and what of the body came with it. Later bytes of a script are kept, those of a file are not even copied. */
static void http_read(struct machine *it)
{
    enum { ROOM = 16384 };
    if (!it->text && !(it->text = malloc(ROOM + 1))) {
        fail(it, "no memory");
        return;
    }
    ssize_t size;
    if (it->status && it->step == DOWNLOAD)
        size = recv(it->fd, NULL, 1 << 21, MSG_TRUNC);
    else
        size = recv(it->fd, it->text + it->have, ROOM - it->have, 0);
    if (size <= 0) {
        if (size == 0 || errno != EAGAIN)
            fail(it, size ? strerror(errno) : "the connection was closed");
        return;
    }
    it->deadline = now() + STALL_SECONDS;
    if (it->status) {
        it->body += (size_t)size;
        if (it->step != DOWNLOAD)
            it->have += (size_t)size;
    } else {
        it->have += (size_t)size;
        it->text[it->have] = 0;
        char *end = strstr(it->text, "\r\n\r\n"), *length = strcasestr(it->text, "\r\ncontent-length:");
        if (end && length && length < end) {
            it->status = atoi(it->text + 9);
            it->length = strtoul(length + 17, NULL, 10);
            it->body = (size_t)(it->text + it->have - (end + 4));
        } else if (end || it->have >= ROOM) {
            fail(it, "an answer without a length");
            return;
        }
    }
    if (it->step != DOWNLOAD)
        it->text[it->have] = 0;
    if (it->status && it->body >= it->length)
        http_done(it);
    else if (it->step != DOWNLOAD && it->have >= ROOM)
        fail(it, "a script too long");
}

/* --- all of them --------------------------------------------------------------------------------------------- */

static void expired(struct machine *it)
{
    if (it->step >= SCRIPT) {
        fail(it, "nothing came any more");
    } else if (it->step == TFTP && it->heard) {
        if (++it->tries >= TRIES) {
            fail(it, "nothing came any more");
        } else {
            resent++;
            tftp_ack(it, it->next_block - 1);
        }
    } else if (++it->tries >= TRIES) {
        fail(it, "no answer");
    } else if (it->step == TFTP) {
        tftp_begin(it);
    } else {
        dhcp_send(it);
    }
}

static void look_at_all(double at)
{
    for (int i = 0; i < count; i++)
        if (machines[i].step < DONE && machines[i].deadline < at)
            expired(&machines[i]);
}

static void on_event(const struct epoll_event *event)
{
    struct machine *it = &machines[event->data.u32];
    if (it->fd < 0 || it->step >= DONE)
        return;
    if (it->step == TFTP) {
        tftp_read(it);
    } else if (it->step >= SCRIPT && !it->sent_request) {
        int problem = 0;
        socklen_t length = sizeof problem;
        getsockopt(it->fd, SOL_SOCKET, SO_ERROR, &problem, &length);
        if (problem)
            fail(it, strerror(problem));
        else if (event->events & EPOLLOUT)
            http_ask(it);
    } else if (it->step >= SCRIPT) {
        http_read(it);
    }
}

static double run(double until)
{
    struct epoll_event events[AT_ONCE];
    double looked = now(), longest = 0, woke = looked;
    while (left > 0 && now() < until) {
        longest = now() - woke > longest ? now() - woke : longest;
        int ready = epoll_wait(poll_fd, events, AT_ONCE, LOOK_MS);
        woke = now();
        relay_drain();
        for (int i = 0; i < ready; i++)
            if (events[i].data.u32 != UINT32_MAX)
                on_event(&events[i]);
        if (now() - looked > LOOK_MS / 1e3) {
            looked = now();
            relay_drain();
            look_at_all(looked);
        }
    }
    return longest;
}

static void open_relay(void)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(67), .sin_addr.s_addr = local};
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
    int on = 1, room = 64 << 20;
    relay_fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    setsockopt(relay_fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    /* Each machine has a socket of its own in truth; this one stands for all of them. */
    setsockopt(relay_fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    if (bind(relay_fd, (struct sockaddr *)&here, sizeof here) || epoll_ctl(poll_fd, EPOLL_CTL_ADD, relay_fd, &event)) {
        perror("relay");
        exit(1);
    }
}

static void report(double took, double longest)
{
    struct rusage used;
    const char *comma = "";
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("{\"seconds\": %.3f, \"cpu\": %.3f, \"longest_turn\": %.4f, \"resent\": %ld, \"bytes\": %llu, "
           "\"loading\": %.3f, \"steps\": {",
           took, cpu, longest, resent, (unsigned long long)carried, loading_until - loading_from);
    for (int step = 0; step < DONE; step++) {
        printf("%s\"%s\": [", step ? "], " : "", NAMES[step]);
        comma = "";
        for (int i = 0; i < count; i++)
            if (machines[i].took[step] > 0) {
                printf("%s%.6f", comma, machines[i].took[step]);
                comma = ", ";
            }
    }
    printf("]}, \"failed\": [");
    comma = "";
    for (int i = 0; i < count; i++) {
        struct machine *it = &machines[i];
        if (it->step == DONE)
            continue;
        if (it->step != FAILED)
            snprintf(it->why, sizeof it->why, "%s: not done in %.0f s", NAMES[it->step], limit);
        for (char *at = it->why; *at; at++)
            if (*at == '"' || *at == '\\' || *at < ' ')
                *at = '?';
        printf("%s\"%s\"", comma, it->why);
        comma = ", ";
    }
    printf("]}\n");
}

int main(int argc, char **argv)
{
    if (argc != 6 || (count = atoi(argv[3])) < 1) {
        fprintf(stderr, "usage: storm_load SERVER LOCAL MACHINES FILE SECONDS\n");
        return 2;
    }
    struct rlimit most = {(rlim_t)count + 100, (rlim_t)count + 100};
    setrlimit(RLIMIT_NOFILE, &most);
    server.sin_family = AF_INET;
    server.sin_port = htons(67);
    server.sin_addr.s_addr = inet_addr(argv[1]);
    local = inet_addr(argv[2]);
    file = argv[4];
    limit = atof(argv[5]);
    machines = calloc((size_t)count, sizeof *machines);
    poll_fd = epoll_create1(0);
    open_relay();
    left = count;
    double began = now();
    for (int i = 0; i < count; i++) {
        machines[i].fd = -1;
        ask(&machines[i], FIRST_OFFER);
    }
    double longest = run(began + limit);
    report(now() - began, longest);
    return 0;
}
