/* A closed loop of DHCP clients with a PXE ROM's options: so many exchanges (DISCOVER, OFFER, REQUEST, ACK) in flight.

   relay:   dhcp_load relay  LOCAL SERVER FIRST CLIENTS WINDOW SECONDS SEEN
   direct:  dhcp_load direct IFACE  -     FIRST CLIENTS WINDOW SECONDS SEEN

   relay speaks as the relay LOCAL (giaddr); direct broadcasts from the clients' own MACs over AF_PACKET and reads the
   broadcast replies. Clients are numbers from FIRST on, which are their MACs too. SEEN is a file that remembers between
   runs to whom each address of the /16 was given. Every reply is checked; prints one line of JSON and exits 0. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DISCOVER = 1, OFFER = 2, REQUEST = 3, ACK = 5, NAK = 6 };
enum { XID = 4, FLAGS = 10, YIADDR = 16, GIADDR = 24, CHADDR = 28, COOKIE = 236, OPTIONS = 240 };
enum { FRAME = 14 + 20 + 8, ADDRESSES = 65536, MOST_WINDOW = 4096, RESEND_MS = 1000, TRIES = 4 };

static const uint8_t COOKIE_BYTES[4] = {0x63, 0x82, 0x53, 0x63};
/* What EDK2 asks for, and iPXE: 35 codes. */
static const uint8_t ASKED[35] = {1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43,
                                  50, 51, 54, 58, 59, 60, 66, 67, 97, 128, 129, 130, 131, 132, 133, 134, 135};

struct exchange {
    uint32_t client;
    int busy, tries;
    uint8_t wants;
    double began, sent;
    uint8_t packet[600];
    int length;
};

static struct exchange slots[MOST_WINDOW];
static int *slot_of;
static uint32_t first, clients, next_client, *seen, giaddr;
static int sock, direct, ifindex;
static struct sockaddr_in server;
static struct { uint32_t done, lost, refused, wrong, twice, resent; } count;
static double *took;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void mac_of(uint32_t client, uint8_t *mac) {
    uint8_t value[6] = {0x02, 0x77, client >> 24, client >> 16, client >> 8, client};
    memcpy(mac, value, 6);
}

static uint8_t *option(uint8_t *at, uint8_t code, uint8_t length, const void *value) {
    *at++ = code;
    *at++ = length;
    memcpy(at, value, length);
    return at + length;
}

static void build(struct exchange *x, uint8_t type, const uint8_t *yours, const uint8_t *server_id) {
    uint8_t *p = x->packet, *at = p + OPTIONS, uuid[17] = {0};
    uint32_t xid = htonl(x->client + 1);
    memset(p, 0, sizeof x->packet);
    p[0] = 1, p[1] = 1, p[2] = 6, p[3] = direct ? 0 : 1;
    memcpy(p + XID, &xid, 4);
    if (direct) p[FLAGS] = 0x80;
    memcpy(p + GIADDR, &giaddr, 4);
    mac_of(x->client, p + CHADDR);
    memcpy(p + COOKIE, COOKIE_BYTES, 4);
    at = option(at, 53, 1, &type);
    if (type == REQUEST) {
        at = option(at, 54, 4, server_id);
        at = option(at, 50, 4, yours);
    }
    at = option(at, 57, 2, "\x05\xc0");
    at = option(at, 55, sizeof ASKED, ASKED);
    memcpy(uuid + 11, p + CHADDR, 6);
    at = option(at, 97, 17, uuid);
    at = option(at, 94, 3, "\1\3\x10");
    at = option(at, 93, 2, "\0\7");
    at = option(at, 60, 32, "PXEClient:Arch:00007:UNDI:003016");
    *at++ = 255;
    x->length = at - p < 548 ? 548 : (int)(at - p);
    x->wants = type == DISCOVER ? OFFER : ACK;
}

static uint16_t checksum(const uint8_t *data, int length) {
    uint32_t sum = 0;
    for (int i = 0; i < length; i += 2) sum += data[i] << 8 | data[i + 1];
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return ~sum;
}

static void put16(uint8_t *at, uint16_t value) {
    at[0] = value >> 8, at[1] = value;
}

static void send_frame(struct exchange *x) {
    uint8_t frame[FRAME + 600] = {0}, *ip = frame + 14, *udp = ip + 20;
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = ifindex, .sll_halen = 6};
    memset(frame, 0xff, 6);
    memset(to.sll_addr, 0xff, 6);
    mac_of(x->client, frame + 6);
    put16(frame + 12, 0x0800);
    ip[0] = 0x45, ip[8] = 64, ip[9] = 17;
    put16(ip + 2, 28 + x->length);
    memset(ip + 16, 0xff, 4);
    put16(ip + 10, checksum(ip, 20));
    put16(udp, 68), put16(udp + 2, 67), put16(udp + 4, 8 + x->length); /* no UDP checksum: RFC 768 allows it */
    memcpy(udp + 8, x->packet, x->length);
    sendto(sock, frame, FRAME + x->length, 0, (struct sockaddr *)&to, sizeof to);
}

static void transmit(struct exchange *x) {
    x->sent = now();
    if (direct) send_frame(x);
    else sendto(sock, x->packet, x->length, 0, (struct sockaddr *)&server, sizeof server);
}

static void begin(int slot, int may) {
    struct exchange *x = &slots[slot];
    x->busy = may && next_client < clients;
    if (!x->busy) return;
    x->client = first + next_client;
    slot_of[next_client++] = slot;
    x->tries = 1;
    build(x, DISCOVER, NULL, NULL);
    x->began = now();
    transmit(x);
}

static const uint8_t *find(const uint8_t *p, int length, uint8_t code, uint8_t size) {
    for (int at = OPTIONS; at + 1 < length && p[at] != 255; at += p[at] ? 2 + p[at + 1] : 1)
        if (p[at] == code && p[at + 1] == size && at + 2 + size <= length) return p + at + 2;
    return NULL;
}

static void finish(struct exchange *x, const uint8_t *yours) {
    uint32_t *owner = &seen[yours[2] << 8 | yours[3]];
    if (*owner && *owner != x->client + 1) count.twice++;
    *owner = x->client + 1;
    took[count.done++] = now() - x->began;
}

static void take(const uint8_t *p, int length, int may) {
    uint32_t xid, number;
    uint8_t mac[6];
    if (length < OPTIONS || p[0] != 2) return;
    memcpy(&xid, p + XID, 4);
    number = ntohl(xid) - 1 - first;
    if (number >= next_client) { count.wrong++; return; }
    int slot = slot_of[number];
    struct exchange *x = &slots[slot];
    if (!x->busy || x->client != first + number) return; /* a late answer to something sent twice */
    mac_of(x->client, mac);
    const uint8_t *type = find(p, length, 53, 1), *id = find(p, length, 54, 4), *yours = p + YIADDR;
    if (!type || !id || memcmp(p + CHADDR, mac, 6) || memcmp(p + GIADDR, &giaddr, 4)) { count.wrong++; return; }
    if (*type == NAK) {
        count.refused++;
        begin(slot, may);
    } else if (*type != x->wants) {
        if (x->wants == ACK && *type == OFFER) return;
        count.wrong++;
    } else if (*type == OFFER) {
        build(x, REQUEST, yours, id);
        transmit(x);
    } else {
        finish(x, yours);
        begin(slot, may);
    }
}

static void receive(int may) {
    static uint8_t data[2048];
    int length;
    while ((length = recv(sock, data, sizeof data, MSG_DONTWAIT)) > 0) {
        if (!direct) take(data, length, may);
        else if (length > FRAME && data[23] == 17 && data[36] == 0 && data[37] == 68)
            take(data + FRAME, length - FRAME, may);
    }
}

static int waiting(int window, int may) {
    int busy = 0;
    double limit = now() - RESEND_MS / 1e3;
    for (int slot = 0; slot < window; slot++) {
        struct exchange *x = &slots[slot];
        if (x->busy && x->sent < limit) {
            if (x->tries++ < TRIES) count.resent++, transmit(x);
            else count.lost++, begin(slot, may);
        }
        busy += x->busy;
    }
    return busy;
}

static void open_relay(const char *local, const char *to) {
    struct sockaddr_in us = {.sin_family = AF_INET, .sin_port = htons(67)};
    server = us;
    if (inet_pton(AF_INET, local, &us.sin_addr) != 1 || inet_pton(AF_INET, to, &server.sin_addr) != 1) die("address");
    giaddr = us.sin_addr.s_addr;
    if ((sock = socket(AF_INET, SOCK_DGRAM, 0)) < 0 || bind(sock, (struct sockaddr *)&us, sizeof us)) die("bind");
}

static void open_direct(const char *name) {
    struct sockaddr_ll us = {.sll_family = AF_PACKET, .sll_protocol = htons(0x0800)};
    direct = 1;
    us.sll_ifindex = ifindex = if_nametoindex(name);
    if ((sock = socket(AF_PACKET, SOCK_RAW, htons(0x0800))) < 0 || bind(sock, (struct sockaddr *)&us, sizeof us))
        die("bind");
}

static int ascending(const void *a, const void *b) {
    return (*(double *)a > *(double *)b) - (*(double *)a < *(double *)b);
}

static double rank(double part) {
    return count.done ? took[(uint32_t)(part * (count.done - 1))] * 1e3 : 0;
}

int main(int argc, char **argv) {
    if (argc != 9) return fprintf(stderr, "see the top of the source\n"), 2;
    first = atoi(argv[4]), clients = atoi(argv[5]);
    int window = atoi(argv[6]), file = open(argv[8], O_RDWR | O_CREAT, 0600), large = 8 << 20;
    double start, limit = atof(argv[7]);
    if (window < 1 || window > MOST_WINDOW || file < 0 || ftruncate(file, ADDRESSES * 4)) die("arguments");
    seen = mmap(NULL, ADDRESSES * 4, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    slot_of = calloc(clients + 1, sizeof *slot_of), took = calloc(clients + 1, sizeof *took);
    if (!strcmp(argv[1], "direct")) open_direct(argv[2]);
    else open_relay(argv[2], argv[3]);
    setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof large);
    start = now();
    for (int slot = 0; slot < window; slot++) begin(slot, 1);
    double looked = start, t;
    for (;;) {
        struct pollfd ready = {.fd = sock, .events = POLLIN};
        poll(&ready, 1, 20);
        int may = (t = now()) - start < limit;
        receive(may);
        if (t - looked > 0.02 || next_client >= clients || !may) {
            looked = t;
            if (!waiting(window, may)) break;
        }
    }
    double seconds = now() - start;
    qsort(took, count.done, sizeof *took, ascending);
    printf("{\"done\": %u, \"seconds\": %.6f, \"p50_ms\": %.4f, \"p99_ms\": %.4f, \"lost\": %u, \"refused\": %u, "
           "\"wrong\": %u, \"twice\": %u, \"resent\": %u, \"begun\": %u}\n",
           count.done, seconds, rank(0.5), rank(0.99), count.lost, count.refused, count.wrong, count.twice,
           count.resent, next_client);
    return 0;
}
