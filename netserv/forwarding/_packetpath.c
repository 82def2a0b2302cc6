/* The packet broker's fast path: what engine.py does, in a tenth of the time.
 *
 * Optional: without a compiler the Python form serves. The rules are those of matching.py, broker_end.py and engine.py, and
 * tests compare both.
 *
 * One thread; the GIL is given up while packets move, and taken again for commands.
 */
#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_xdp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "_ring.h"

#ifndef AF_XDP
#define AF_XDP 44
#endif
#ifndef SOL_XDP
#define SOL_XDP 283
#endif
#define MAX_TX_BUDGET 9 /* XDP_MAX_TX_SKB_BUDGET, of Linux 6.17 */

enum { FILTERS = 4096, PORTS = 64, PREMATCHES = 4, PREMATCH = 16, RINGS = 4096, NEXT_MAX = 64 };
/* Packets that wait for others at most; packets and wake-ups in the time of coalescing that are many; so many such times
 * without so many wake-ups are calm; ns for each container that is to be woken. */
enum { WAKE_AT = 128, LOADED_AT = 16, CROWDED_AT = 4, CALM = 20, CROWDED_YET = 16, WAKE_NS = 10000 };
enum { BATCH = 64, PACKET_MAX = 65536, READ_BYTES = 66048, GIST_PORT = 270 };
enum { C_PACKETS, C_BYTES, C_ACCEPTED, C_DROPPED, C_CHANGED, C_INJECTED, C_LATE, C_REFUSED, C_FULL, C_ABSENT, C_RUBBISH,
       C_PASSED, C_CACHED, COUNTERS };
enum { BACK_SLOTS = 256, BACK_SLOT_BYTES = 2048, BACK_HEAD_BYTES = 4096 }; /* xdp_stack.py */
enum { KICKS = 16, FRAME = 2048, FRAMES = 8192, XRING = 2048, LINKS = 256, ETHERNET = 14, ROUTES = 4096 };

/* Flows that the kernel counts: at most so many of a node (xdp.py) and of a filter; what is told of them in one turn. */
enum { COUNTED = 65536, COUNTED_OF_FILTER = 4096, REPORTS = 16 };
#define TELL_NS 900000000u    /* a flow is told of no more often */
#define IDLE_NS 10000000000u  /* a flow without packets gives its place to another */

/* ---- addresses, filters, and what may leave: matching.py ---- */

struct prefix {
    uint8_t version;
    uint64_t network[2], mask[2]; /* bytes in the order of the wire */
};

struct parts {
    uint8_t version, proto;
    uint16_t source_port, destination_port;
    uint32_t at; /* of the transport header */
    uint64_t source[2], destination[2];
};

struct prematch {
    uint16_t offset;
    uint8_t size, data[PREMATCH];
};

struct ring;

struct filter {
    uint32_t number;
    struct ring *ring;
    uint8_t proto, reverse, closed;
    uint32_t counted, counted_count; /* flows that the kernel counts: the first of them, how many */
    uint16_t ports_count, prematch_count, later_count, allowed_count;
    uint16_t ports[PORTS];
    struct prefix destination, source;
    struct prematch prematch[PREMATCHES];
    struct prefix *allowed;
    uint32_t *later;
    uint64_t counters[COUNTERS];
};

static inline uint16_t be16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }

static inline void put16(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline void load_address(uint64_t to[2], const uint8_t *from, size_t size) {
    to[0] = to[1] = 0;
    memcpy(to, from, size);
}

static inline bool inside(const uint64_t address[2], const struct prefix *prefix) {
    return (address[0] & prefix->mask[0]) == prefix->network[0] && (address[1] & prefix->mask[1]) == prefix->network[1];
}

static bool make_prefix(struct prefix *to, const uint8_t *address, Py_ssize_t size, int bits) {
    if ((size != 4 && size != 16) || bits < 0 || bits > size * 8)
        return false;
    uint8_t mask[16] = {0};
    for (int bit = 0; bit < bits; bit++)
        mask[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
    to->version = size == 4 ? 4 : 6;
    load_address(to->mask, mask, 16);
    load_address(to->network, address, (size_t)size);
    to->network[0] &= to->mask[0];
    to->network[1] &= to->mask[1];
    return true;
}

/* What filters look at; false for a packet that goes to no module. */
static bool read_parts(const uint8_t *packet, uint32_t size, struct parts *parts) {
    if (size < 28)
        return false;
    parts->version = packet[0] >> 4;
    if (parts->version == 4) {
        if (packet[0] != 0x45 || be16(packet + 6) & 0x3FFF)
            return false;
        parts->at = 20;
        parts->proto = packet[9];
        load_address(parts->source, packet + 12, 4);
        load_address(parts->destination, packet + 16, 4);
    } else if (parts->version == 6 && size >= 48) {
        parts->at = 40;
        parts->proto = packet[6];
        load_address(parts->source, packet + 8, 16);
        load_address(parts->destination, packet + 24, 16);
    } else {
        return false;
    }
    if (parts->proto != IPPROTO_TCP && parts->proto != IPPROTO_UDP)
        return false;
    parts->source_port = be16(packet + parts->at);
    parts->destination_port = be16(packet + parts->at + 2);
    return true;
}

static inline bool has_port(const struct filter *filter, uint16_t port) {
    for (unsigned number = 0; number < filter->ports_count; number++)
        if (filter->ports[number] == port)
            return true;
    return false;
}

static bool goes_forward(const struct filter *filter, const struct parts *parts) {
    return parts->proto == filter->proto && parts->version == filter->destination.version &&
           has_port(filter, parts->destination_port) && inside(parts->destination, &filter->destination) &&
           inside(parts->source, &filter->source);
}

static bool goes_backward(const struct filter *filter, const struct parts *parts) {
    return parts->proto == filter->proto && parts->version == filter->destination.version &&
           has_port(filter, parts->source_port) && inside(parts->source, &filter->destination) &&
           inside(parts->destination, &filter->source);
}

static bool wants(const struct filter *filter, const struct parts *parts, const uint8_t *packet, uint32_t size) {
    if (!goes_forward(filter, parts) && !(filter->reverse && goes_backward(filter, parts)))
        return false;
    if (!filter->prematch_count)
        return true;
    uint32_t at = parts->at + 8;
    if (parts->proto == IPPROTO_TCP) {
        if (size < parts->at + 13)
            return false;
        at = parts->at + (uint32_t)(packet[parts->at + 12] >> 4) * 4;
    }
    for (unsigned number = 0; number < filter->prematch_count; number++) {
        const struct prematch *each = &filter->prematch[number];
        if (at + each->offset + each->size <= size && !memcmp(packet + at + each->offset, each->data, each->size))
            return true;
    }
    return false;
}

static uint64_t sum_words(uint64_t sum, const uint8_t *from, size_t size) {
    while (size >= 4) {
        uint32_t word;
        memcpy(&word, from, 4);
        sum += word;
        from += 4;
        size -= 4;
    }
    uint8_t rest[4] = {0};
    if (size) {
        uint32_t word;
        memcpy(rest, from, size);
        memcpy(&word, rest, 4);
        sum += word;
    }
    return sum;
}

static uint16_t fold(uint64_t sum) {
    sum = (sum & 0xFFFFFFFF) + (sum >> 32);
    sum = (sum & 0xFFFFFFFF) + (sum >> 32);
    sum = (sum & 0xFFFF) + (sum >> 16);
    sum = (sum & 0xFFFF) + (sum >> 16);
    return (uint16_t)sum;
}

static uint64_t pseudo_sum(const uint8_t *packet, uint32_t size, uint8_t version, uint8_t proto, uint32_t at) {
    uint64_t sum = version == 4 ? sum_words(0, packet + 12, 8) : sum_words(0, packet + 8, 32);
    return sum + htons(proto) + htonl(size - at);
}

static void fill_checksum(uint8_t *packet, uint32_t size, uint8_t version, uint8_t proto, uint32_t at) {
    uint8_t *field = packet + at + (proto == IPPROTO_TCP ? 16 : 6);
    memset(field, 0, 2);
    uint16_t sum = (uint16_t)~fold(sum_words(pseudo_sum(packet, size, version, proto, at), packet + at, size - at));
    if (!sum)
        sum = 0xFFFF;
    memcpy(field, &sum, 2);
}

static void fill_header_checksum(uint8_t *packet) {
    memset(packet + 10, 0, 2);
    uint16_t sum = (uint16_t)~fold(sum_words(0, packet, 20));
    memcpy(packet + 10, &sum, 2);
}

static bool nowhere(const uint8_t *address, uint8_t version) {
    if (version == 4)
        return !address[0] || address[0] == 127 || address[0] >= 224;
    static const uint8_t zeros[16];
    return address[0] == 0xFF || (!memcmp(address, zeros, 15) && address[15] < 2) ||
           (!memcmp(address, zeros, 10) && address[10] == 0xFF && address[11] == 0xFF);
}

/* One whole packet without options, of a protocol that may leave. */
static bool whole(const uint8_t *packet, uint32_t size, struct parts *parts) {
    static const uint8_t smallest[] = {[IPPROTO_ICMP] = 8, [IPPROTO_TCP] = 20, [IPPROTO_UDP] = 8, [IPPROTO_ICMPV6] = 4};
    if (size < 20)
        return false;
    uint32_t length;
    uint8_t hops;
    parts->version = packet[0] >> 4;
    if (parts->version == 4) {
        if (packet[0] != 0x45 || be16(packet + 6) & 0x3FFF)
            return false;
        parts->at = 20, parts->proto = packet[9], hops = packet[8], length = be16(packet + 2);
        load_address(parts->source, packet + 12, 4);
        load_address(parts->destination, packet + 16, 4);
    } else if (parts->version == 6 && size >= 40) {
        parts->at = 40, parts->proto = packet[6], hops = packet[7], length = be16(packet + 4) + 40u;
        load_address(parts->source, packet + 8, 16);
        load_address(parts->destination, packet + 24, 16);
    } else {
        return false;
    }
    uint8_t icmp = parts->version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
    if (length != size || !hops || (parts->proto != IPPROTO_TCP && parts->proto != IPPROTO_UDP && parts->proto != icmp))
        return false;
    uint32_t rest = size - parts->at;
    if (rest < smallest[parts->proto])
        return false;
    const uint8_t *transport = packet + parts->at;
    if (parts->proto == IPPROTO_UDP && be16(transport + 4) != rest)
        return false;
    uint32_t tcp = (uint32_t)(transport[parts->proto == IPPROTO_TCP ? 12 : 0] >> 4) * 4;
    return parts->proto != IPPROTO_TCP || (tcp >= 20 && tcp <= rest);
}

/* Whether a packet may leave for one of these filters; its checksums are right afterwards. */
static bool may_leave(uint8_t *packet, uint32_t size, struct filter *const *filters, unsigned count) {
    struct parts parts = {0};
    if (!whole(packet, size, &parts))
        return false;
    const uint8_t *ends = packet + (parts.version == 4 ? 12 : 8);
    if (nowhere(ends, parts.version) || nowhere(ends + (parts.version == 4 ? 4 : 16), parts.version))
        return false;
    bool ports = parts.proto == IPPROTO_TCP || parts.proto == IPPROTO_UDP;
    if (ports) {
        parts.source_port = be16(packet + parts.at);
        parts.destination_port = be16(packet + parts.at + 2);
        if (parts.proto == IPPROTO_UDP && parts.destination_port == GIST_PORT)
            return false;
    }
    bool allowed = false;
    for (unsigned number = 0; number < count && !allowed; number++) {
        const struct filter *filter = filters[number];
        allowed = goes_forward(filter, &parts) || goes_backward(filter, &parts);
        for (unsigned each = 0; each < filter->allowed_count && !allowed; each++) {
            const struct prefix *prefix = &filter->allowed[each];
            allowed = prefix->version == parts.version &&
                      (inside(parts.source, prefix) || inside(parts.destination, prefix));
        }
    }
    if (!allowed)
        return false;
    if (parts.version == 4)
        fill_header_checksum(packet);
    if (ports && !be16(packet + parts.at + (parts.proto == IPPROTO_TCP ? 16 : 6)))
        fill_checksum(packet, size, parts.version, parts.proto, parts.at);
    return true;
}

/* ---- rings: broker_end.py ---- */

struct packet;

struct ring {
    uint32_t number;
    uint8_t *memory;
    struct layout layout;
    int memory_fd, wake_fd, broker_fd;
    uint32_t head, tail, sequence, free_count, lent;
    uint16_t *free;        /* a stack: few pages are touched, and they are in the cache */
    uint32_t *sequences;   /* by slot */
    uint8_t *is_lent;      /* by slot */
    struct packet **holds; /* by slot; NULL where the deadline is over */
    struct packet *first, *last;
    uint64_t woken_at;
    uint64_t held_since; /* 0: no packet waits for it to be woken */
    uint32_t unwoken; /* packets that it was not woken for */
    uint32_t reports; /* slots in which it was told of flows, in this turn */
    bool deaf;
    uint64_t foreign, rubbish, late;
};

static inline uint8_t *slot_at(struct ring *ring, uint32_t slot) {
    return ring->memory + ring->layout.slots_at + (size_t)slot * ring->layout.slot_bytes;
}

/* ---- packets that wait for a verdict ---- */

enum { EMPTY, UNDECIDED, TAKEN, REFUSED }; /* of a packet in a queue */

struct queue;
struct link;

struct packet {
    struct filter *filter;
    struct ring *ring; /* NULL: in no ring */
    struct packet *next, *previous;
    struct queue *queue; /* NULL: it came by AF_XDP */
    uint8_t *data;       /* IP packet; of a queued one NULL, unless another filter or the kernel needs it */
    uint64_t deadline, frame;
    uint32_t id, slot, size, in, out; /* interfaces, of AF_XDP */
    uint8_t state, changed;
};

struct queue {
    int kind; /* of an epoll source, first in each of them */
    uint32_t number, filter_number;
    int fd;
    struct filter *filter;
    uint32_t mask, begin, end; /* packets in the order in which they came */
    struct packet *packets;
};

struct xring {
    uint32_t *producer, *consumer, *flags;
    void *descriptors;
    uint32_t cached, mask;
};

struct link { /* a socket of AF_XDP: one receive queue of one interface */
    int kind;
    int fd;
    uint32_t interface, mtu;
    struct xring rx, tx, fill, completion;
    uint32_t unsent;
};

struct route {
    uint64_t address[2], until;
    uint32_t out;
    uint8_t version, macs[12];
};

struct outbox { /* packets on their way back to the kernel: xdp_stack.py */
    uint64_t next, lost;
    uint8_t nothing[BACK_HEAD_BYTES - 16];
    struct {
        uint32_t size, interface;
        uint8_t frame[BACK_SLOT_BYTES - 8];
    } slots[BACK_SLOTS];
};

enum { SOURCE_QUEUE = 1, SOURCE_RING, SOURCE_LINK, SOURCE_CONTROL };

struct source {
    int kind;
    void *what;
};

typedef struct {
    PyObject_HEAD
    uint64_t deadline_ns, coalesce_ns;
    uint32_t sequence;
    int raw4, raw6, epoll;
    struct filter *filters[FILTERS];
    unsigned filters_count;
    struct ring *rings[RINGS];
    unsigned rings_count;
    struct queue *queues[FILTERS];
    unsigned queues_count;
    uint8_t *buffers;
    uint8_t scratch[PACKET_MAX], verdicts[READ_BYTES];
    uint32_t verdicts_size;
    /* AF_XDP */
    uint8_t *umem;
    uint64_t *frames;
    uint32_t frames_count;
    struct packet *pool, *pool_free;
    struct link *links[LINKS];
    unsigned links_count;
    uint64_t recent_since;
    unsigned recent, woken_recently;
    bool loaded, crowded;
    unsigned sleepers, sleepers_recently; /* containers to be woken at a time */
    int flow_map, router;
    struct count *counts;     /* the kernel's own, by place; 0 is no place */
    struct counted *counted;  /* what is known of each of them */
    uint32_t counted_used, counted_free;
    struct route *routes;
    struct outbox *outbox; /* NULL: packets leave by AF_XDP */
    int back_program;
    uint32_t outbox_count;
    uint64_t unsendable;
} Engine;

static struct filter *find_filter(Engine *self, uint32_t number) {
    unsigned low = 0, high = self->filters_count; /* in the order of their numbers */
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (self->filters[middle]->number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < self->filters_count && self->filters[low]->number == number ? self->filters[low] : NULL;
}

static void wake_box(struct ring *ring, uint64_t now) {
    /* Full of wake-ups, or the container is gone: nothing to be done about it. */
    (void)!send(ring->wake_fd, "\1", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    ring->woken_at = now;
    ring->unwoken = 0;
    ring->held_since = 0;
}

static void unlink_packet(struct packet *packet) {
    struct ring *ring = packet->ring;
    if (packet->previous)
        packet->previous->next = packet->next;
    else
        ring->first = packet->next;
    if (packet->next)
        packet->next->previous = packet->previous;
    else
        ring->last = packet->previous;
    packet->next = packet->previous = NULL;
    packet->ring = NULL;
}

enum { LENT_PACKET = 1, LENT_REPORT };

/* Lend the slot that is free first, which has been filled. */
static uint32_t lend(struct ring *ring, uint32_t size, uint32_t number, struct packet *packet) {
    struct layout *layout = &ring->layout;
    uint32_t slot = ring->free[--ring->free_count];
    uint32_t *descriptor = (uint32_t *)(void *)(ring->memory + layout->packets_at +
                                                (size_t)(ring->head & (layout->slots - 1)) * DESCRIPTOR_BYTES);
    descriptor[0] = slot;
    descriptor[1] = size;
    descriptor[2] = number;
    descriptor[3] = ++ring->sequence;
    ring->sequences[slot] = ring->sequence;
    ring->is_lent[slot] = packet ? LENT_PACKET : LENT_REPORT;
    ring->holds[slot] = packet;
    ring->lent++;
    set(ring->memory, PACKETS_HEAD, ++ring->head);
    ring->unwoken++;
    return slot;
}

static bool post(Engine *self, struct ring *ring, struct packet *packet, const uint8_t *data, uint32_t size, uint64_t now) {
    if (!ring->free_count || size > ring->layout.slot_bytes)
        return false;
    memcpy(slot_at(ring, ring->free[ring->free_count - 1]), data, size);
    packet->slot = lend(ring, size, packet->filter->number, packet);
    packet->ring = ring;
    packet->deadline = now + self->deadline_ns;
    packet->previous = ring->last;
    packet->next = NULL;
    if (ring->last)
        ring->last->next = packet;
    else
        ring->first = packet;
    ring->last = packet;
    return true;
}

/* ---- what becomes of a packet ---- */

static void go_on(Engine *self, struct packet *packet, uint64_t now);
static void transmit(Engine *self, struct packet *packet);
static void flush_verdicts(Engine *self, struct queue *queue);

static void release(Engine *self, struct packet *packet) { /* of AF_XDP */
    if (packet->frame != UINT64_MAX)
        self->frames[self->frames_count++] = packet->frame & ~(uint64_t)(FRAME - 1);
    packet->next = self->pool_free;
    self->pool_free = packet;
}

static void refuse(Engine *self, struct packet *packet) {
    if (packet->queue)
        packet->state = REFUSED;
    else
        release(self, packet);
}

static void fail(Engine *self, struct packet *packet, unsigned why, uint64_t now) {
    packet->filter->counters[why]++;
    if (packet->filter->closed)
        refuse(self, packet);
    else
        go_on(self, packet, now);
}

static void hand_over(Engine *self, struct packet *packet, struct filter *filter, const uint8_t *data, uint32_t size,
                      uint64_t now) {
    filter->counters[C_PACKETS]++;
    filter->counters[C_BYTES] += size;
    packet->filter = filter;
    if (packet->queue && filter->later_count && !packet->data) { /* the buffer it came in is read into again */
        packet->data = malloc(size);
        if (packet->data)
            memcpy(packet->data, data, size);
        packet->size = size;
    }
    if (!filter->ring)
        fail(self, packet, C_ABSENT, now);
    else if (!post(self, filter->ring, packet, data, size, now))
        fail(self, packet, C_FULL, now);
}

/* To the next filter that wants it, or on its way. */
static void go_on(Engine *self, struct packet *packet, uint64_t now) {
    struct filter *filter = packet->filter;
    struct parts parts;
    if (filter->later_count && packet->data && read_parts(packet->data, packet->size, &parts)) {
        for (unsigned number = 0; number < filter->later_count; number++) {
            struct filter *later = find_filter(self, filter->later[number]);
            if (later && wants(later, &parts, packet->data, packet->size)) {
                hand_over(self, packet, later, packet->data, packet->size, now);
                return;
            }
        }
    }
    if (packet->queue)
        packet->state = TAKEN;
    else
        transmit(self, packet);
}

static void change(Engine *self, struct packet *packet, const uint8_t *data, uint32_t size, uint64_t now) {
    memcpy(self->scratch, data, size);
    if (!may_leave(self->scratch, size, &packet->filter, 1)) {
        fail(self, packet, C_REFUSED, now);
        return;
    }
    if (packet->queue) {
        uint8_t *kept = realloc(packet->data, size);
        if (!kept) {
            fail(self, packet, C_REFUSED, now);
            return;
        }
        packet->data = kept;
    } else if (size > FRAME - (packet->frame & (FRAME - 1)) - ETHERNET) {
        fail(self, packet, C_REFUSED, now);
        return;
    } else {
        bool moved = packet->size < 40 || memcmp(packet->data, self->scratch, 1) ||
                     memcmp(packet->data + (self->scratch[0] >> 4 == 4 ? 12 : 8),
                            self->scratch + (self->scratch[0] >> 4 == 4 ? 12 : 8), self->scratch[0] >> 4 == 4 ? 8 : 32);
        if (moved)
            packet->out = UINT32_MAX; /* its next hop is to be found anew */
        put16(packet->data - 2, self->scratch[0] >> 4 == 4 ? 0x0800 : 0x86DD);
    }
    memcpy(packet->data, self->scratch, size);
    packet->size = size;
    packet->changed = 1;
    packet->filter->counters[C_CHANGED]++;
    go_on(self, packet, now);
}

static void remember_flow(Engine *self, struct packet *packet, bool counts);

static void answered(Engine *self, struct packet *packet, uint32_t verdict, const uint8_t *data, uint32_t size,
                     uint64_t now) {
    switch (verdict) {
    case ACCEPT_FLOW:
    case COUNT_FLOW:
        remember_flow(self, packet, verdict == COUNT_FLOW);
        /* fall through */
    case ACCEPT:
        packet->filter->counters[C_ACCEPTED]++;
        go_on(self, packet, now);
        return;
    case DROP:
        packet->filter->counters[C_DROPPED]++;
        refuse(self, packet);
        return;
    case CHANGED:
        change(self, packet, data, size, now);
        return;
    default:
        fail(self, packet, C_RUBBISH, now);
    }
}

static bool route_frame(Engine *self, uint8_t *frame, uint32_t size, uint32_t *out);
static bool send_frame(Engine *self, uint64_t frame, uint32_t size, uint32_t out);

static bool send_raw(Engine *self, const uint8_t *packet, uint32_t size) {
    struct iovec part = {(void *)packet, size};
    char control[CMSG_SPACE(sizeof(struct in6_pktinfo))] = {0};
    struct sockaddr_in to4 = {.sin_family = AF_INET};
    struct sockaddr_in6 to6 = {.sin6_family = AF_INET6};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control};
    struct cmsghdr *source = (struct cmsghdr *)(void *)control;
    bool four = packet[0] >> 4 == 4;
    if (four) { /* the route is chosen for this source */
        struct in_pktinfo info = {0};
        memcpy(&to4.sin_addr, packet + 16, 4);
        memcpy(&info.ipi_spec_dst, packet + 12, 4);
        message.msg_name = &to4, message.msg_namelen = sizeof to4;
        message.msg_controllen = CMSG_SPACE(sizeof info);
        *source = (struct cmsghdr){CMSG_LEN(sizeof info), IPPROTO_IP, IP_PKTINFO};
        memcpy(CMSG_DATA(source), &info, sizeof info);
    } else {
        struct in6_pktinfo info = {0};
        memcpy(&to6.sin6_addr, packet + 24, 16);
        memcpy(&info.ipi6_addr, packet + 8, 16);
        message.msg_name = &to6, message.msg_namelen = sizeof to6;
        message.msg_controllen = CMSG_SPACE(sizeof info);
        *source = (struct cmsghdr){CMSG_LEN(sizeof info), IPPROTO_IPV6, IPV6_PKTINFO};
        memcpy(CMSG_DATA(source), &info, sizeof info);
    }
    bool sent = sendmsg(four ? self->raw4 : self->raw6, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
    self->unsendable += !sent;
    return sent;
}

static bool send_own(Engine *self, const uint8_t *packet, uint32_t size) {
    if (self->links_count && !self->outbox && size <= FRAME - 256 - ETHERNET && self->frames_count) {
        uint64_t frame = self->frames[--self->frames_count];
        uint8_t *at = self->umem + frame + 256;
        uint32_t out;
        memcpy(at + ETHERNET, packet, size);
        put16(at + 12, packet[0] >> 4 == 4 ? 0x0800 : 0x86DD);
        if (route_frame(self, at, size + ETHERNET, &out) && send_frame(self, frame + 256, size + ETHERNET, out))
            return true;
        self->frames[self->frames_count++] = frame;
    }
    return send_raw(self, packet, size);
}

static void inject(Engine *self, struct ring *ring, const uint8_t *data, uint32_t size, uint32_t number) {
    struct filter *mine[NEXT_MAX];
    unsigned count = 0;
    for (unsigned each = 0; each < self->filters_count && count < NEXT_MAX; each++) {
        struct filter *filter = self->filters[each];
        if (filter->ring == ring && (!number || filter->number == number))
            mine[count++] = filter;
    }
    if (!count)
        return;
    memcpy(self->scratch, data, size);
    if (!may_leave(self->scratch, size, mine, count))
        mine[0]->counters[C_REFUSED]++;
    else if (send_own(self, self->scratch, size))
        mine[0]->counters[C_INJECTED]++;
}

static void understand(Engine *self, struct ring *ring, const uint32_t descriptor[4], uint64_t now) {
    uint32_t slot = descriptor[0], verdict = descriptor[1], length = descriptor[2], last = descriptor[3];
    struct layout *layout = &ring->layout;
    if (verdict == INJECT) {
        if (slot < layout->slots || slot >= layout->slots + layout->injected || !length || length > layout->slot_bytes)
            ring->rubbish++;
        else
            inject(self, ring, slot_at(ring, slot), length, last);
        return;
    }
    if (slot >= layout->slots || !ring->is_lent[slot] || ring->sequences[slot] != last) {
        ring->foreign++;
        return;
    }
    struct packet *packet = ring->holds[slot];
    bool report = ring->is_lent[slot] == LENT_REPORT;
    ring->is_lent[slot] = 0;
    ring->holds[slot] = NULL;
    ring->lent--;
    ring->free[ring->free_count++] = (uint16_t)slot;
    if (!packet) {
        ring->late += !report;
        return;
    }
    unlink_packet(packet);
    if (verdict < ACCEPT || (verdict > ACCEPT_FLOW && verdict != COUNT_FLOW) ||
        (verdict == CHANGED && (!length || length > layout->slot_bytes))) {
        ring->rubbish++;
        verdict = 0;
    }
    answered(self, packet, verdict, slot_at(ring, slot), length, now);
}

static unsigned collect(Engine *self, struct ring *ring, unsigned most, uint64_t now) {
    uint32_t head = get(ring->memory, ANSWERS_HEAD), waiting = head - ring->tail;
    if (!waiting)
        return 0;
    if (waiting > ring->layout.answers) {
        ring->rubbish++;
        ring->tail = head;
        set(ring->memory, ANSWERS_TAIL, head);
        return 0;
    }
    unsigned count = waiting < most ? waiting : most;
    for (unsigned number = 0; number < count; number++) {
        uint32_t descriptor[4];
        const uint8_t *at = ring->memory + ring->layout.answers_at +
                            (size_t)(ring->tail & (ring->layout.answers - 1)) * DESCRIPTOR_BYTES;
        memcpy(descriptor, at, sizeof descriptor);
        atomic_signal_fence(memory_order_seq_cst);
        ring->tail++;
        understand(self, ring, descriptor, now);
    }
    set(ring->memory, ANSWERS_TAIL, ring->tail);
    return count;
}

static void expire(Engine *self, struct ring *ring, uint64_t now) {
    while (ring->first && ring->first->deadline <= now) {
        struct packet *packet = ring->first;
        ring->holds[packet->slot] = NULL; /* lent until it is answered */
        set(ring->memory, LATE_HEAD, ring->head - (ring->sequence - ring->sequences[packet->slot]));
        unlink_packet(packet);
        fail(self, packet, C_LATE, now);
    }
}

/* ---- NFQUEUE ---- */

static void flush_send(Engine *self, struct queue *queue) {
    if (self->verdicts_size) {
        struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
        /* A verdict that is not taken is one about a packet that is gone: its interface went down. */
        (void)!sendto(queue->fd, self->verdicts, self->verdicts_size, 0, (struct sockaddr *)&kernel, sizeof kernel);
        self->verdicts_size = 0;
    }
}

static void say_verdict(Engine *self, struct queue *queue, int kind, uint32_t id, uint32_t verdict, const uint8_t *data,
                        uint32_t size) {
    uint32_t payload = data ? (uint32_t)NLA_ALIGN(NLA_HDRLEN + size) : 0, length = 16 + 4 + 12 + payload;
    if (self->verdicts_size + length > sizeof self->verdicts)
        flush_send(self, queue);
    uint8_t *at = self->verdicts + self->verdicts_size;
    struct nlmsghdr header = {length, (uint16_t)(NFNL_SUBSYS_QUEUE << 8 | kind), NLM_F_REQUEST, 0, 0};
    struct nfgenmsg generic = {AF_UNSPEC, NFNETLINK_V0, htons((uint16_t)queue->number)};
    struct nlattr attribute = {12, NFQA_VERDICT_HDR};
    struct nfqnl_msg_verdict_hdr decision = {htonl(verdict), htonl(id)};
    memcpy(at, &header, 16);
    memcpy(at + 16, &generic, 4);
    memcpy(at + 20, &attribute, 4);
    memcpy(at + 24, &decision, 8);
    if (data) {
        struct nlattr changed = {(uint16_t)(NLA_HDRLEN + size), NFQA_PAYLOAD};
        memcpy(at + 32, &changed, 4);
        memcpy(at + 36, data, size);
        memset(at + 36 + size, 0, payload - 4 - size);
    }
    self->verdicts_size += length;
}

/* Tell the kernel what is decided: a run at the begin of the queue in one word, the others one by one. */
static void flush_verdicts(Engine *self, struct queue *queue) {
    bool begin = true;
    for (uint32_t number = queue->begin; number != queue->end;) {
        struct packet *packet = &queue->packets[number & queue->mask];
        if (packet->state == UNDECIDED) {
            begin = false;
            number++;
            continue;
        }
        if (packet->state == EMPTY) {
            number++;
        } else if (packet->state == TAKEN && packet->changed) {
            say_verdict(self, queue, NFQNL_MSG_VERDICT, packet->id, 1, packet->data, packet->size);
            packet->state = EMPTY;
            number++;
        } else {
            uint32_t verdict = packet->state == TAKEN, state = packet->state, id = packet->id;
            packet->state = EMPTY;
            number++;
            unsigned run = 1;
            for (; begin && number != queue->end; number++, run++) {
                struct packet *next = &queue->packets[number & queue->mask];
                if (next->state != state || next->changed)
                    break;
                id = next->id;
                next->state = EMPTY;
                free(next->data);
                next->data = NULL;
            }
            say_verdict(self, queue, run > 1 ? NFQNL_MSG_VERDICT_BATCH : NFQNL_MSG_VERDICT, id, verdict, NULL, 0);
        }
        free(packet->data);
        packet->data = NULL;
        packet->changed = 0;
        if (begin)
            queue->begin = number;
    }
    while (queue->begin != queue->end && queue->packets[queue->begin & queue->mask].state == EMPTY)
        queue->begin++;
    flush_send(self, queue);
}

static void queued(Engine *self, struct queue *queue, uint32_t id, const uint8_t *data, uint32_t size, uint64_t now) {
    if (queue->end - queue->begin > queue->mask) { /* more than the kernel keeps: it cannot be */
        say_verdict(self, queue, NFQNL_MSG_VERDICT, id, 1, NULL, 0);
        return;
    }
    struct packet *packet = &queue->packets[queue->end++ & queue->mask];
    *packet = (struct packet){.queue = queue, .id = id, .state = UNDECIDED, .filter = queue->filter};
    struct parts parts;
    if (!queue->filter) {
        packet->state = TAKEN;
    } else if (read_parts(data, size, &parts) && wants(queue->filter, &parts, data, size)) {
        hand_over(self, packet, queue->filter, data, size, now);
    } else {
        queue->filter->counters[C_PASSED]++;
        if (queue->filter->later_count && (packet->data = malloc(size))) {
            memcpy(packet->data, data, size);
            packet->size = size;
        }
        go_on(self, packet, now);
    }
}

static void understand_netlink(Engine *self, struct queue *queue, const uint8_t *data, size_t size, uint64_t now) {
    while (size >= 16) {
        struct nlmsghdr header;
        memcpy(&header, data, 16);
        if (header.nlmsg_len < 16 || header.nlmsg_len > size)
            return;
        if (header.nlmsg_type == (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET)) {
            const uint8_t *payload = NULL;
            uint32_t payload_size = 0, id = 0;
            bool known = false;
            for (size_t at = 20; at + 4 <= header.nlmsg_len;) {
                struct nlattr attribute;
                memcpy(&attribute, data + at, 4);
                if (attribute.nla_len < 4 || at + attribute.nla_len > header.nlmsg_len)
                    break;
                unsigned kind = attribute.nla_type & NLA_TYPE_MASK;
                if (kind == NFQA_PACKET_HDR && attribute.nla_len >= 8) {
                    memcpy(&id, data + at + 4, 4);
                    id = ntohl(id);
                    known = true;
                } else if (kind == NFQA_PAYLOAD) {
                    payload = data + at + 4;
                    payload_size = attribute.nla_len - 4u;
                }
                at += NLA_ALIGN(attribute.nla_len);
            }
            if (known)
                queued(self, queue, id, payload, payload_size, now);
        }
        size_t step = NLMSG_ALIGN(header.nlmsg_len);
        if (step >= size)
            return;
        data += step;
        size -= step;
    }
}

static int read_queue(Engine *self, struct queue *queue, uint64_t now) {
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    struct sockaddr_nl senders[BATCH];
    for (unsigned number = 0; number < BATCH; number++) {
        parts[number] = (struct iovec){self->buffers + (size_t)number * READ_BYTES, READ_BYTES};
        messages[number].msg_hdr = (struct msghdr){
            .msg_iov = &parts[number], .msg_iovlen = 1, .msg_name = &senders[number], .msg_namelen = sizeof senders[0]};
    }
    int count = recvmmsg(queue->fd, messages, BATCH, MSG_DONTWAIT, NULL);
    for (int number = 0; number < count; number++)
        if (senders[number].nl_pid == 0)
            understand_netlink(self, queue, parts[number].iov_base, messages[number].msg_len, now);
    return count;
}

/* ---- AF_XDP ---- */

struct meta { /* what the program in the kernel writes in front of a packet: xdp_program.py */
    uint32_t filter, out;
    uint8_t macs[12];
};

static int bpf(int command, union bpf_attr *attributes) {
    return (int)syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

struct flow { /* the key of the kernel's table of flows: xdp_program.py */
    uint8_t version, proto;
    uint16_t source_port, destination_port;
    uint8_t hops, nothing, source[16], destination[16];
};

struct flow_value {
    uint64_t filter;
    uint32_t place, nothing; /* where it is counted; 0: nowhere */
};

struct count {
    uint64_t packets, bytes;
};

struct record { /* what a module is told of a flow: ring.py */
    struct flow flow;
    struct count more;
};

struct counted {
    struct flow flow;
    struct count told;
    uint64_t told_at, used_at;
    uint32_t next; /* of the same filter, or free as well */
    bool leaving;  /* the kernel does not know it any more */
};

static bool read_flow(const struct packet *packet, struct flow *flow) {
    struct parts parts;
    if (!packet->data || !read_parts(packet->data, packet->size, &parts))
        return false;
    bool four = parts.version == 4;
    *flow = (struct flow){.version = parts.version, .proto = parts.proto, .hops = packet->data[four ? 8 : 7]};
    memcpy(&flow->source_port, packet->data + parts.at, 2);
    memcpy(&flow->destination_port, packet->data + parts.at + 2, 2);
    memcpy(flow->source, packet->data + (four ? 12 : 8), four ? 4 : 16);
    memcpy(flow->destination, packet->data + (four ? 16 : 24), four ? 4 : 16);
    return true;
}

static bool flow_call(Engine *self, int command, struct flow *flow, struct flow_value *value) {
    union bpf_attr attributes = {0};
    attributes.map_fd = (uint32_t)self->flow_map;
    attributes.key = (uint64_t)(uintptr_t)flow;
    attributes.value = (uint64_t)(uintptr_t)value;
    return !bpf(command, &attributes);
}

static bool is_counted_at(Engine *self, struct flow *flow, uint32_t filter, uint32_t place) {
    struct flow_value value;
    return flow_call(self, BPF_MAP_LOOKUP_ELEM, flow, &value) && value.filter == filter && value.place &&
           (!place || value.place == place);
}

static struct count count_at(Engine *self, uint32_t place) {
    uint64_t packets = __atomic_load_n(&self->counts[place].packets, __ATOMIC_ACQUIRE);
    return (struct count){packets, __atomic_load_n(&self->counts[place].bytes, __ATOMIC_RELAXED)};
}

/* A place where the kernel may count a flow; 0: there is none, and its packets go on to come to the module. */
static uint32_t new_place(Engine *self, struct filter *filter, const struct flow *flow) {
    uint32_t place = self->counted_free;
    if (!place && self->counted_used == COUNTED - 1)
        return 0;
    if (place)
        self->counted_free = self->counted[place].next;
    else
        place = ++self->counted_used;
    /* What stands there already was another flow's. */
    self->counted[place] = (struct counted){*flow, count_at(self, place), 0, now_ns(), filter->counted, false};
    filter->counted = place;
    filter->counted_count++;
    return place;
}

static void remember_flow(Engine *self, struct packet *packet, bool counts) {
    struct flow flow;
    if (self->flow_map < 0 || !read_flow(packet, &flow))
        return;
    struct flow_value value = {.filter = packet->filter->number};
    if (counts) {
        if (packet->filter->counted_count == COUNTED_OF_FILTER ||
            is_counted_at(self, &flow, packet->filter->number, 0))
            return; /* it is, and packets were under way when that was said; or it cannot be */
        value.place = new_place(self, packet->filter, &flow);
        if (!value.place)
            return;
    }
    flow_call(self, BPF_MAP_UPDATE_ELEM, &flow, &value); /* it may be there of a filter that is gone */
}

static void forget_flow(Engine *self, struct filter *filter, uint32_t place) {
    struct flow *flow = &self->counted[place].flow;
    if (is_counted_at(self, flow, filter->number, place))
        flow_call(self, BPF_MAP_DELETE_ELEM, flow, NULL);
}

static void free_place(Engine *self, struct filter *filter, uint32_t *link) {
    uint32_t place = *link;
    *link = self->counted[place].next;
    self->counted[place].next = self->counted_free;
    self->counted_free = place;
    filter->counted_count--;
}

/* Tell a module what the kernel has counted since the last time; whether there is more than has room now.
 *
 * A place is used again one turn after the kernel has forgotten its flow: whoever was about to count there has done so.
 * Half of the ring is left to packets. At the end, when none come any more, all is told that has room. */
static bool tell_filter(Engine *self, struct filter *filter, uint64_t now, bool end) {
    struct ring *ring = filter->ring;
    struct record *records = NULL;
    uint32_t size = 0;
    bool more = false;
    for (uint32_t *link = &filter->counted; *link && !more;) {
        struct counted *flow = &self->counted[*link];
        struct count found = count_at(self, *link);
        if (found.packets == flow->told.packets) {
            if (flow->leaving || end) {
                if (!flow->leaving)
                    forget_flow(self, filter, *link);
                free_place(self, filter, link);
                continue;
            }
            if (now - flow->used_at >= IDLE_NS) {
                forget_flow(self, filter, *link);
                flow->leaving = true;
            }
        } else if (ring && (end || now - flow->told_at >= TELL_NS)) {
            if (!records && ring->free_count > ring->layout.slots / 2 && (end || ring->reports < REPORTS))
                records = (struct record *)(void *)slot_at(ring, ring->free[ring->free_count - 1]);
            more = !records;
            if (records) {
                records[size++] = (struct record){
                    flow->flow, {found.packets - flow->told.packets, found.bytes - flow->told.bytes}};
                flow->told = found;
                flow->told_at = flow->used_at = now;
            }
            if (records && (size + 1) * sizeof *records > ring->layout.slot_bytes) {
                lend(ring, size * (uint32_t)sizeof *records, filter->number | COUNTS, NULL);
                ring->reports++;
                records = NULL, size = 0;
            }
        }
        link = &flow->next;
    }
    if (size) {
        lend(ring, size * (uint32_t)sizeof *records, filter->number | COUNTS, NULL);
        ring->reports++;
    }
    return more;
}

static bool ask_kernel(Engine *self, uint8_t *frame, uint32_t size, uint32_t *out) {
    union bpf_attr attributes = {0};
    uint8_t routed[FRAME];
    attributes.test.prog_fd = (uint32_t)self->router;
    attributes.test.data_in = (uint64_t)(uintptr_t)frame;
    attributes.test.data_size_in = size;
    attributes.test.data_out = (uint64_t)(uintptr_t)routed;
    attributes.test.data_size_out = sizeof routed;
    if (bpf(BPF_PROG_TEST_RUN, &attributes) || !attributes.test.retval)
        return false;
    *out = attributes.test.retval;
    memcpy(frame, routed, 12);
    return true;
}

/* Where a frame of ours goes: the kernel's routing table says so, and is believed for a while. */
static bool route_frame(Engine *self, uint8_t *frame, uint32_t size, uint32_t *out) {
    if (self->router < 0 || size < ETHERNET + 20)
        return false;
    const uint8_t *packet = frame + ETHERNET;
    bool four = packet[0] >> 4 == 4;
    uint64_t address[2], now = now_ns();
    load_address(address, packet + (four ? 16 : 24), four ? 4 : 16);
    uint64_t mixed = (address[0] ^ address[1] * 0x9E3779B97F4A7C15u) * 0xD6E8FEB86659FD93u;
    struct route *route = &self->routes[mixed >> 52];
    if (route->until <= now || route->version != packet[0] >> 4 || memcmp(route->address, address, 16)) {
        uint32_t found = 0;
        if (!ask_kernel(self, frame, size, &found))
            return false;
        *route = (struct route){{address[0], address[1]}, now + 100000000u, found, packet[0] >> 4, {0}};
        memcpy(route->macs, frame, 12);
    } else {
        memcpy(frame, route->macs, 12);
    }
    *out = route->out;
    return true;
}

static struct link *find_link(Engine *self, uint32_t interface) {
    for (unsigned number = 0; number < self->links_count; number++)
        if (self->links[number]->interface == interface)
            return self->links[number];
    return NULL;
}

static void complete(Engine *self, struct link *link) {
    struct xring *ring = &link->completion;
    uint32_t ready = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE) - ring->cached;
    uint64_t *addresses = ring->descriptors;
    for (uint32_t number = 0; number < ready; number++)
        self->frames[self->frames_count++] = addresses[ring->cached++ & ring->mask] & ~(uint64_t)(FRAME - 1);
    if (ready)
        __atomic_store_n(ring->consumer, ring->cached, __ATOMIC_RELEASE);
}

static void kick(Engine *self, struct link *link) {
    struct xring *ring = &link->tx;
    if (!link->unsent)
        return;
    __atomic_store_n(ring->producer, ring->cached, __ATOMIC_RELEASE);
    for (unsigned tries = 0; tries < KICKS; tries++) {
        int done = (int)sendto(link->fd, NULL, 0, MSG_DONTWAIT, NULL, 0);
        if (__atomic_load_n(ring->consumer, __ATOMIC_ACQUIRE) == ring->cached)
            break;
        if (done < 0 && errno != EAGAIN && errno != EBUSY && errno != ENOBUFS)
            break; /* the interface is down: the kernel takes them later, or never */
        complete(self, link);
    }
    /* Packets on their way hold memory of the socket until the other end has looked at them: the rest goes soon. */
    link->unsent = ring->cached - __atomic_load_n(ring->consumer, __ATOMIC_ACQUIRE);
    complete(self, link);
}

static bool send_frame(Engine *self, uint64_t frame, uint32_t size, uint32_t out) {
    struct link *link = find_link(self, out);
    if (!link || size - ETHERNET > link->mtu)
        return false;
    struct xring *ring = &link->tx;
    if (ring->cached - __atomic_load_n(ring->consumer, __ATOMIC_ACQUIRE) > ring->mask) {
        kick(self, link);
        if (ring->cached - __atomic_load_n(ring->consumer, __ATOMIC_ACQUIRE) > ring->mask)
            return false;
    }
    struct xdp_desc *descriptors = ring->descriptors;
    descriptors[ring->cached++ & ring->mask] = (struct xdp_desc){frame, size, 0};
    if (++link->unsent >= 256)
        kick(self, link);
    return true;
}

/* To the kernel's stack, as if these packets had just come in. */
static void give_back(Engine *self) {
    struct outbox *outbox = self->outbox;
    uint8_t sheet[64] = {0}; /* the program writes each packet over it */
    uint64_t done = 0;
    __atomic_store_n(&outbox->lost, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&outbox->next, 0, __ATOMIC_RELEASE);
    while (done < self->outbox_count) {
        union bpf_attr attributes = {0};
        attributes.test.prog_fd = (uint32_t)self->back_program;
        attributes.test.data_in = (uint64_t)(uintptr_t)sheet;
        attributes.test.data_size_in = sizeof sheet;
        attributes.test.repeat = self->outbox_count - (uint32_t)done;
        int failed = bpf(BPF_PROG_TEST_RUN, &attributes);
        done = __atomic_load_n(&outbox->next, __ATOMIC_ACQUIRE);
        if (failed && errno != EINTR) /* a signal ends it after any packet */
            break;
    }
    self->unsendable += self->outbox_count - done + __atomic_load_n(&outbox->lost, __ATOMIC_RELAXED);
    self->outbox_count = 0;
}

static void put_back(Engine *self, const struct packet *packet) {
    if (self->outbox_count == BACK_SLOTS)
        give_back(self);
    uint32_t number = self->outbox_count++, size = packet->size + ETHERNET;
    self->outbox->slots[number].size = size;
    self->outbox->slots[number].interface = packet->in;
    memcpy(self->outbox->slots[number].frame, packet->data - ETHERNET, size);
}

static void transmit(Engine *self, struct packet *packet) {
    uint8_t *data = packet->data;
    if (self->outbox) {
        put_back(self, packet);
        release(self, packet);
        return;
    }
    if (data[0] >> 4 == 4) { /* RFC 1624: the checksum grows by what the TTL byte loses */
        uint32_t sum = be16(data + 10) + 0x100u;
        put16(data + 10, (uint16_t)(sum + (sum >> 16)));
        data[8]--;
    } else {
        data[7]--;
    }
    uint8_t *frame = data - ETHERNET;
    uint32_t size = packet->size + ETHERNET, out = packet->out;
    if (out == UINT32_MAX && !route_frame(self, frame, size, &out))
        out = 0;
    if (out && send_frame(self, packet->frame, size, out)) {
        packet->frame = UINT64_MAX; /* the kernel's until it is sent */
    } else {
        send_raw(self, data, packet->size);
    }
    release(self, packet);
}

/* A sender on this machine leaves the checksum to hardware that is not there: then it is the sum of the pseudo header. A
 * right checksum that is this by chance stays what it is. */
static void finish_checksum(uint8_t *packet, uint32_t size, const struct parts *parts) {
    uint32_t field = parts->at + (parts->proto == IPPROTO_TCP ? 16 : 6);
    uint16_t found;
    if (size < field + 2)
        return;
    memcpy(&found, packet + field, 2);
    if (found == fold(pseudo_sum(packet, size, parts->version, parts->proto, parts->at)))
        fill_checksum(packet, size, parts->version, parts->proto, parts->at);
}

static void received(Engine *self, const struct link *link, uint64_t address, uint32_t size, uint64_t now) {
    struct meta meta;
    uint8_t *data = self->umem + address + ETHERNET;
    memcpy(&meta, self->umem + address - sizeof meta, sizeof meta);
    struct packet *packet = self->pool_free;
    struct parts parts;
    size -= ETHERNET;
    bool plain = packet && read_parts(data, size, &parts);
    uint32_t length = plain ? (data[0] >> 4 == 4 ? be16(data + 2) : be16(data + 4) + 40u) : 0;
    if (!plain || length > size || length < parts.at + 8) { /* the program in the kernel lets none of these through */
        self->frames[self->frames_count++] = address & ~(uint64_t)(FRAME - 1);
        return;
    }
    size = length; /* without the padding of a short frame */
    finish_checksum(data, size, &parts);
    if (meta.out && !self->outbox)
        memcpy(data - ETHERNET, meta.macs, 12);
    self->pool_free = packet->next;
    *packet = (struct packet){.data = data, .size = size, .frame = address, .in = link->interface, .out = meta.out};
    struct filter *filter = find_filter(self, meta.filter);
    if (filter && wants(filter, &parts, data, size)) {
        hand_over(self, packet, filter, data, size, now);
        return;
    }
    for (unsigned number = 0; number < self->filters_count; number++) {
        if (wants(self->filters[number], &parts, data, size)) {
            hand_over(self, packet, self->filters[number], data, size, now);
            return;
        }
    }
    transmit(self, packet); /* of a filter that has just gone */
}

static unsigned read_link(Engine *self, struct link *link, uint64_t now) {
    struct xring *ring = &link->rx;
    uint32_t ready = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE) - ring->cached;
    struct xdp_desc *descriptors = ring->descriptors;
    if (ready > 4 * BATCH)
        ready = 4 * BATCH;
    for (uint32_t number = 0; number < ready; number++) {
        struct xdp_desc found = descriptors[ring->cached++ & ring->mask];
        received(self, link, found.addr, found.len, now);
    }
    if (ready)
        __atomic_store_n(ring->consumer, ring->cached, __ATOMIC_RELEASE);
    return ready;
}

static void refill(Engine *self, struct link *link) {
    struct xring *ring = &link->fill;
    uint32_t room = ring->mask + 1 - (ring->cached - __atomic_load_n(ring->consumer, __ATOMIC_ACQUIRE));
    if (room < BATCH)
        return;
    uint64_t *addresses = ring->descriptors;
    /* Some are kept for packets of the modules' own. */
    while (room-- && self->frames_count > 256)
        addresses[ring->cached++ & ring->mask] = self->frames[--self->frames_count];
    __atomic_store_n(ring->producer, ring->cached, __ATOMIC_RELEASE);
}

/* ---- the loop ---- */

static int wait_events(Engine *self, struct epoll_event *events, int most, int64_t patience_ns) {
    if (patience_ns <= 0)
        return epoll_wait(self->epoll, events, most, patience_ns < 0 ? -1 : 0);
#ifdef SYS_epoll_pwait2
    struct timespec patience = {patience_ns / 1000000000, patience_ns % 1000000000};
    int count = (int)syscall(SYS_epoll_pwait2, self->epoll, events, most, &patience, NULL, 0);
    if (count >= 0 || errno != ENOSYS)
        return count;
#endif
    return epoll_wait(self->epoll, events, most, (int)((patience_ns + 999999) / 1000000));
}

static void unwatch(Engine *self, int fd) { epoll_ctl(self->epoll, EPOLL_CTL_DEL, fd, NULL); }

static int watch(Engine *self, int fd, void *source) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};
    return epoll_ctl(self->epoll, EPOLL_CTL_ADD, fd, &event);
}

static void drain(Engine *self, struct ring *ring) {
    char rest[4096];
    ssize_t size = recv(ring->broker_fd, rest, sizeof rest, MSG_DONTWAIT);
    if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR)) {
        unwatch(self, ring->broker_fd); /* it has closed its side; answers that are there are heard */
        ring->deaf = true;
    }
}

/* How long packets of a container that sleeps wait for others: the more containers there are to wake, the longer. */
static uint64_t hold_ns(Engine *self) {
    uint64_t hold = self->crowded ? self->sleepers * (uint64_t)WAKE_NS : 0;
    return hold < self->deadline_ns / 8 ? hold : self->deadline_ns / 8;
}

/* Wake containers, do what is late; returns when to do so again. */
static uint64_t attend(Engine *self, uint64_t now, uint64_t until) {
    uint64_t hold = hold_ns(self);
    unsigned sleepers = 0;
    for (unsigned number = 0; number < self->rings_count; number++) {
        struct ring *ring = self->rings[number];
        expire(self, ring, now);
        if (ring->unwoken) {
            atomic_thread_fence(memory_order_seq_cst);
            if (!get(ring->memory, BOX_SLEEPS)) {
                ring->unwoken = 0;
            } else {
                if (!ring->held_since)
                    ring->held_since = now;
                uint64_t rested = ring->woken_at + self->coalesce_ns, due = ring->held_since + hold;
                if (due < rested)
                    due = rested;
                sleepers++;
                if (ring->unwoken >= WAKE_AT || due <= now) {
                    set(ring->memory, BOX_SLEEPS, 0);
                    wake_box(ring, now);
                    self->woken_recently++;
                } else if (due < until) {
                    until = due;
                }
            }
        }
        if (ring->first && ring->first->deadline < until)
            until = ring->first->deadline;
    }
    if (sleepers > self->sleepers_recently)
        self->sleepers_recently = sleepers;
    for (unsigned number = 0; number < self->queues_count; number++)
        if (self->queues[number]->begin != self->queues[number]->end)
            flush_verdicts(self, self->queues[number]);
    if (self->outbox_count)
        give_back(self);
    for (unsigned number = 0; number < self->links_count; number++) {
        struct link *link = self->links[number];
        kick(self, link);
        refill(self, link);
        if (link->unsent && now + self->coalesce_ns < until)
            until = now + self->coalesce_ns;
    }
    return until;
}

static bool hear(Engine *self, uint64_t now) {
    bool more = false;
    for (unsigned number = 0; number < self->rings_count; number++)
        more |= collect(self, self->rings[number], 4 * BATCH, now) == 4 * BATCH;
    return more;
}

/* Whether containers are to say that there are answers: not while all of them are looked at again and again. */
static void listen_to(Engine *self, bool wakes) {
    for (unsigned number = 0; number < self->rings_count; number++)
        set(self->rings[number]->memory, BROKER_SLEEPS, wakes);
    atomic_thread_fence(memory_order_seq_cst); /* what they answer before they see it is found by the next look */
}

/* Under load let packets gather for a moment: to be woken for each of them costs more than to treat it. Where many
 * containers are woken, their answers gather as well. Returns whether to look again without being called. */
static bool gather(Engine *self, unsigned received, uint64_t now) {
    bool crowded = self->crowded;
    self->recent += received;
    if (now - self->recent_since >= (crowded ? CALM : 1) * self->coalesce_ns) {
        self->loaded = self->recent >= LOADED_AT;
        self->crowded = self->woken_recently >= (crowded ? CROWDED_YET : CROWDED_AT);
        self->sleepers = self->sleepers_recently;
        self->recent = self->woken_recently = self->sleepers_recently = 0;
        self->recent_since = now;
    }
    if (self->crowded != crowded)
        listen_to(self, !self->crowded);
    if (received < BATCH && (self->crowded || (self->loaded && received))) {
        struct timespec pause = {0, (long)(self->crowded ? self->coalesce_ns : self->coalesce_ns / 2)};
        nanosleep(&pause, NULL);
    }
    return self->crowded || crowded;
}

static void run(Engine *self, void *control, uint64_t until) {
    struct epoll_event events[64];
    bool busy = false, ended = false;
    unsigned came = 0;
    while (!ended) {
        uint64_t now = now_ns();
        busy |= hear(self, now);
        uint64_t next = attend(self, now, until);
        if (until <= now)
            return;
        busy |= gather(self, came, now);
        int64_t patience = next == UINT64_MAX ? -1 : next > now ? (int64_t)(next - now) : 0;
        int count = wait_events(self, events, 64, busy ? 0 : patience);
        busy = false;
        now = now_ns();
        came = 0;
        for (int number = 0; number < count; number++) {
            int *source = events[number].data.ptr;
            if (source == control) {
                ended = true;
            } else if (*source == SOURCE_QUEUE) {
                int got = read_queue(self, (struct queue *)(void *)source, now);
                came += got > 0 ? (unsigned)got : 0;
            } else if (*source == SOURCE_LINK) {
                came += read_link(self, (struct link *)(void *)source, now);
            } else {
                drain(self, ((struct source *)(void *)source)->what);
            }
        }
        if (count < 0)
            return; /* a signal: Python is to look at it */
    }
}

/* ---- the engine for Python: compiled.py ---- */

static void forget_ring(Engine *self, struct ring *ring) {
    if (!ring->deaf)
        unwatch(self, ring->broker_fd);
    close(ring->memory_fd);
    close(ring->wake_fd);
    close(ring->broker_fd);
    munmap(ring->memory, ring->layout.size);
    free(ring->free);
    free(ring->sequences);
    free(ring->is_lent);
    free(ring->holds);
    free(ring);
}

static PyObject *engine_add_ring(Engine *self, PyObject *arguments) {
    unsigned number;
    int memory, wake, broker;
    if (!PyArg_ParseTuple(arguments, "Iiii", &number, &memory, &wake, &broker))
        return NULL;
    if (self->rings_count == RINGS) {
        PyErr_SetString(PyExc_OSError, "too many rings");
        return NULL;
    }
    struct layout layout;
    uint8_t *mapped = map_ring(memory, &layout);
    if (!mapped)
        return no_ring();
    struct ring *ring = calloc(1, sizeof *ring + sizeof(struct source));
    if (ring) {
        ring->free = calloc(layout.slots, sizeof *ring->free);
        ring->sequences = calloc(layout.slots, sizeof *ring->sequences);
        ring->is_lent = calloc(layout.slots, 1);
        ring->holds = calloc(layout.slots, sizeof *ring->holds);
    }
    if (!ring || !ring->free || !ring->sequences || !ring->is_lent || !ring->holds)
        return PyErr_NoMemory();
    ring->number = number, ring->memory = mapped, ring->layout = layout;
    ring->memory_fd = memory, ring->wake_fd = wake, ring->broker_fd = broker;
    ring->sequence = self->sequence;
    ring->head = get(mapped, PACKETS_HEAD);
    ring->tail = get(mapped, ANSWERS_HEAD);
    set(mapped, ANSWERS_TAIL, ring->tail);
    set(mapped, BROKER_SLEEPS, 1);
    for (uint32_t slot = layout.slots; slot--;)
        ring->free[ring->free_count++] = (uint16_t)slot;
    struct source *source = (struct source *)(void *)(ring + 1);
    *source = (struct source){SOURCE_RING, ring};
    self->rings[self->rings_count++] = ring;
    if (watch(self, broker, source))
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

static struct ring *find_ring(Engine *self, uint32_t number) {
    for (unsigned each = 0; each < self->rings_count; each++)
        if (self->rings[each]->number == number)
            return self->rings[each];
    return NULL;
}

static PyObject *engine_remove_ring(Engine *self, PyObject *argument) {
    struct ring *ring = find_ring(self, (uint32_t)PyLong_AsUnsignedLong(argument));
    if (PyErr_Occurred())
        return NULL;
    if (!ring)
        Py_RETURN_NONE;
    for (unsigned each = 0; each < self->filters_count; each++)
        if (self->filters[each]->ring == ring)
            self->filters[each]->ring = NULL;
    uint64_t now = now_ns();
    while (ring->first) {
        struct packet *packet = ring->first;
        unlink_packet(packet);
        fail(self, packet, C_ABSENT, now);
    }
    for (unsigned each = 0; each < self->rings_count; each++)
        if (self->rings[each] == ring)
            self->rings[each] = self->rings[--self->rings_count];
    forget_ring(self, ring);
    attend(self, now, UINT64_MAX);
    Py_RETURN_NONE;
}

static bool take_prefix(PyObject *pair, struct prefix *to) {
    const char *address;
    Py_ssize_t size;
    int bits;
    if (!PyArg_ParseTuple(pair, "y#i", &address, &size, &bits))
        return false;
    if (!make_prefix(to, (const uint8_t *)address, size, bits)) {
        PyErr_SetString(PyExc_ValueError, "this is no prefix");
        return false;
    }
    return true;
}

static bool take_lists(struct filter *filter, PyObject *ports, PyObject *prematch, PyObject *allowed, PyObject *later) {
    Py_ssize_t ports_count = PyTuple_GET_SIZE(ports), prematch_count = PyTuple_GET_SIZE(prematch);
    Py_ssize_t allowed_count = PyTuple_GET_SIZE(allowed), later_count = PyTuple_GET_SIZE(later);
    if (ports_count > PORTS || prematch_count > PREMATCHES || allowed_count > 0xFFFF || later_count > FILTERS) {
        PyErr_SetString(PyExc_ValueError, "the filter is out of bounds");
        return false;
    }
    for (Py_ssize_t each = 0; each < ports_count; each++)
        filter->ports[each] = (uint16_t)PyLong_AsLong(PyTuple_GET_ITEM(ports, each));
    for (Py_ssize_t each = 0; each < prematch_count; each++) {
        int offset;
        const char *data;
        Py_ssize_t size;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(prematch, each), "iy#", &offset, &data, &size))
            return false;
        if (offset < 0 || offset > 0xFFFF || size < 1 || size > PREMATCH) {
            PyErr_SetString(PyExc_ValueError, "the prematch is out of bounds");
            return false;
        }
        filter->prematch[each] = (struct prematch){(uint16_t)offset, (uint8_t)size, {0}};
        memcpy(filter->prematch[each].data, data, (size_t)size);
    }
    filter->ports_count = (uint16_t)ports_count, filter->prematch_count = (uint16_t)prematch_count;
    struct prefix *prefixes = calloc((size_t)allowed_count + 1, sizeof *prefixes);
    uint32_t *numbers = calloc((size_t)later_count + 1, sizeof *numbers);
    free(filter->allowed);
    free(filter->later);
    filter->allowed = prefixes, filter->later = numbers;
    if (!prefixes || !numbers) {
        PyErr_NoMemory();
        return false;
    }
    for (Py_ssize_t each = 0; each < allowed_count; each++)
        if (!take_prefix(PyTuple_GET_ITEM(allowed, each), &prefixes[each]))
            return false;
    for (Py_ssize_t each = 0; each < later_count; each++)
        numbers[each] = (uint32_t)PyLong_AsUnsignedLong(PyTuple_GET_ITEM(later, each));
    filter->allowed_count = (uint16_t)allowed_count, filter->later_count = (uint16_t)later_count;
    return !PyErr_Occurred();
}

static void insert_filter(Engine *self, struct filter *filter) {
    unsigned at = self->filters_count++;
    for (; at && self->filters[at - 1]->number > filter->number; at--)
        self->filters[at] = self->filters[at - 1];
    self->filters[at] = filter;
}

static PyObject *engine_add_filter(Engine *self, PyObject *arguments) {
    unsigned number, ring;
    int proto, reverse, closed;
    PyObject *ports, *destination, *source, *prematch, *allowed, *later;
    if (!PyArg_ParseTuple(arguments, "IIippO!O!O!O!O!O!", &number, &ring, &proto, &reverse, &closed, &PyTuple_Type, &ports,
                          &PyTuple_Type, &destination, &PyTuple_Type, &source, &PyTuple_Type, &prematch, &PyTuple_Type,
                          &allowed, &PyTuple_Type, &later))
        return NULL;
    struct filter *filter = find_filter(self, number);
    bool known = filter != NULL;
    if (!known && self->filters_count == FILTERS) {
        PyErr_SetString(PyExc_OSError, "too many filters");
        return NULL;
    }
    if (!known)
        filter = calloc(1, sizeof *filter);
    if (!filter)
        return PyErr_NoMemory();
    filter->number = number, filter->ring = find_ring(self, ring);
    filter->proto = (uint8_t)proto, filter->reverse = (uint8_t)reverse, filter->closed = (uint8_t)closed;
    if (!take_prefix(destination, &filter->destination) || !take_prefix(source, &filter->source) ||
        !take_lists(filter, ports, prematch, allowed, later)) {
        if (!known) {
            free(filter->allowed);
            free(filter->later);
            free(filter);
        }
        return NULL;
    }
    if (!known)
        insert_filter(self, filter);
    for (unsigned each = 0; each < self->queues_count; each++)
        if (self->queues[each]->filter_number == number)
            self->queues[each]->filter = filter;
    Py_RETURN_NONE;
}

static PyObject *engine_remove_filter(Engine *self, PyObject *argument) {
    struct filter *filter = find_filter(self, (uint32_t)PyLong_AsUnsignedLong(argument));
    if (PyErr_Occurred())
        return NULL;
    if (!filter)
        Py_RETURN_NONE;
    for (unsigned each = 0; each < self->queues_count; each++)
        if (self->queues[each]->filter == filter)
            self->queues[each]->filter = NULL;
    filter->closed = 0;
    filter->later_count = 0;
    for (unsigned each = 0; each < self->rings_count; each++) {
        struct ring *ring = self->rings[each];
        for (struct packet *packet = ring->first, *next; packet; packet = next) {
            next = packet->next;
            if (packet->filter != filter)
                continue;
            ring->holds[packet->slot] = NULL;
            unlink_packet(packet);
            go_on(self, packet, 0);
        }
    }
    attend(self, now_ns(), UINT64_MAX);
    while (filter->counted) {
        forget_flow(self, filter, filter->counted);
        free_place(self, filter, &filter->counted);
    }
    unsigned at = 0;
    while (self->filters[at] != filter)
        at++;
    for (self->filters_count--; at < self->filters_count; at++)
        self->filters[at] = self->filters[at + 1];
    /* Decided packets of queues may still name it, but are not looked at again. */
    free(filter->allowed);
    free(filter->later);
    free(filter);
    Py_RETURN_NONE;
}

static PyObject *engine_add_queue(Engine *self, PyObject *arguments) {
    unsigned filter, number, length;
    int fd;
    if (!PyArg_ParseTuple(arguments, "IIiI", &filter, &number, &fd, &length))
        return NULL;
    if (self->queues_count == FILTERS || !length || length > 65536) {
        PyErr_SetString(PyExc_OSError, "too many queues");
        return NULL;
    }
    uint32_t room = 64;
    while (room < length + 1)
        room *= 2;
    struct queue *queue = calloc(1, sizeof *queue);
    if (!queue || !(queue->packets = calloc(room, sizeof *queue->packets))) {
        free(queue);
        return PyErr_NoMemory();
    }
    queue->kind = SOURCE_QUEUE, queue->fd = fd, queue->number = number, queue->filter_number = filter;
    queue->mask = room - 1, queue->filter = find_filter(self, filter);
    if (watch(self, fd, queue)) {
        free(queue->packets);
        free(queue);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    self->queues[self->queues_count++] = queue;
    Py_RETURN_NONE;
}

static void close_queue(Engine *self, struct queue *queue) {
    while (read_queue(self, queue, now_ns()) > 0)
        flush_verdicts(self, queue);
    flush_verdicts(self, queue);
    for (uint32_t number = queue->begin; number != queue->end; number++)
        free(queue->packets[number & queue->mask].data);
    unwatch(self, queue->fd);
    close(queue->fd);
    free(queue->packets);
    free(queue);
}

static PyObject *engine_remove_queue(Engine *self, PyObject *argument) {
    uint32_t filter = (uint32_t)PyLong_AsUnsignedLong(argument);
    if (PyErr_Occurred())
        return NULL;
    for (unsigned each = 0; each < self->queues_count; each++) {
        struct queue *queue = self->queues[each];
        if (queue->filter_number != filter)
            continue;
        for (unsigned ring = 0; ring < self->rings_count; ring++) /* where its filter was not removed before it */
            for (struct packet *packet = self->rings[ring]->first, *next; packet; packet = next) {
                next = packet->next;
                if (packet->queue == queue) {
                    self->rings[ring]->holds[packet->slot] = NULL;
                    unlink_packet(packet);
                    packet->state = TAKEN;
                }
            }
        queue->filter = NULL;
        self->queues[each] = self->queues[--self->queues_count];
        close_queue(self, queue);
        break;
    }
    Py_RETURN_NONE;
}

static PyObject *engine_run(Engine *self, PyObject *arguments) {
    struct source control = {SOURCE_CONTROL, NULL};
    int fd;
    double patience;
    if (!PyArg_ParseTuple(arguments, "id", &fd, &patience))
        return NULL;
    uint64_t until = patience < 0 ? UINT64_MAX : now_ns() + (uint64_t)(patience * 1e9);
    if (watch(self, fd, &control))
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_BEGIN_ALLOW_THREADS;
    run(self, &control, until);
    Py_END_ALLOW_THREADS;
    unwatch(self, fd);
    if (PyErr_CheckSignals())
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *engine_counters(Engine *self, PyObject *argument) {
    struct filter *filter = find_filter(self, (uint32_t)PyLong_AsUnsignedLong(argument));
    if (!filter) {
        if (!PyErr_Occurred())
            PyErr_SetObject(PyExc_KeyError, argument);
        return NULL;
    }
    PyObject *found = PyTuple_New(COUNTERS);
    for (Py_ssize_t each = 0; found && each < COUNTERS; each++)
        PyTuple_SET_ITEM(found, each, PyLong_FromUnsignedLongLong(filter->counters[each]));
    return found;
}

static PyObject *engine_ring_counters(Engine *self, PyObject *argument) {
    struct ring *ring = find_ring(self, (uint32_t)PyLong_AsUnsignedLong(argument));
    if (!ring) {
        if (!PyErr_Occurred())
            PyErr_SetObject(PyExc_KeyError, argument);
        return NULL;
    }
    return Py_BuildValue("KKKI", (unsigned long long)ring->foreign, (unsigned long long)ring->rubbish,
                         (unsigned long long)ring->late, (unsigned)ring->lent);
}

static PyObject *engine_tell(Engine *self, PyObject *nothing) {
    (void)nothing;
    uint64_t now = now_ns();
    bool more = false;
    for (unsigned each = 0; each < self->rings_count; each++)
        self->rings[each]->reports = 0;
    for (unsigned each = 0; each < self->filters_count; each++)
        more |= tell_filter(self, self->filters[each], now, false);
    return PyBool_FromLong(more);
}

static PyObject *engine_tell_last(Engine *self, PyObject *argument) {
    struct filter *filter = find_filter(self, (uint32_t)PyLong_AsUnsignedLong(argument));
    if (PyErr_Occurred())
        return NULL;
    if (filter)
        tell_filter(self, filter, now_ns(), true);
    Py_RETURN_NONE;
}

static PyObject *engine_counted(Engine *self, PyObject *argument) {
    struct filter *filter = find_filter(self, (uint32_t)PyLong_AsUnsignedLong(argument));
    if (PyErr_Occurred())
        return NULL;
    return PyLong_FromUnsignedLong(filter ? filter->counted_count : 0);
}

/* For tests: whether a packet belongs to a filter, and what of it may leave (None: nothing). */
static PyObject *engine_wants(Engine *self, PyObject *arguments) {
    unsigned number;
    const char *data;
    Py_ssize_t size;
    struct parts parts;
    if (!PyArg_ParseTuple(arguments, "Iy#", &number, &data, &size))
        return NULL;
    struct filter *filter = find_filter(self, number);
    const uint8_t *packet = (const uint8_t *)data;
    return PyBool_FromLong(filter && read_parts(packet, (uint32_t)size, &parts) &&
                           wants(filter, &parts, packet, (uint32_t)size));
}

static PyObject *engine_outgoing(Engine *self, PyObject *arguments) {
    unsigned number;
    const char *data;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(arguments, "Iy#", &number, &data, &size))
        return NULL;
    struct filter *filter = find_filter(self, number);
    if (!filter || size > PACKET_MAX)
        Py_RETURN_NONE;
    memcpy(self->scratch, data, (size_t)size);
    if (!may_leave(self->scratch, (uint32_t)size, &filter, 1))
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize((const char *)self->scratch, size);
}

static PyObject *engine_start_xdp(Engine *self, PyObject *arguments) {
    int counts;
    if (!PyArg_ParseTuple(arguments, "iii", &self->flow_map, &counts, &self->router))
        return NULL;
    void *mapped = mmap(NULL, COUNTED * sizeof *self->counts, PROT_READ, MAP_SHARED, counts, 0);
    if (mapped == MAP_FAILED)
        return PyErr_SetFromErrno(PyExc_OSError);
    self->counts = mapped;
    self->counted = calloc(COUNTED, sizeof *self->counted);
    self->umem = mmap(NULL, (size_t)FRAME * FRAMES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    self->frames = calloc(FRAMES, sizeof *self->frames);
    self->pool = calloc(FRAMES, sizeof *self->pool);
    self->routes = calloc(ROUTES, sizeof *self->routes);
    if (self->umem == MAP_FAILED || !self->frames || !self->pool || !self->routes || !self->counted)
        return PyErr_NoMemory();
    for (uint32_t number = 0; number < FRAMES; number++) {
        self->frames[self->frames_count++] = (uint64_t)number * FRAME;
        self->pool[number].next = self->pool_free;
        self->pool_free = &self->pool[number];
    }
    Py_RETURN_NONE;
}

static PyObject *engine_give_back_by(Engine *self, PyObject *arguments) {
    int outbox;
    if (!PyArg_ParseTuple(arguments, "ii", &self->back_program, &outbox))
        return NULL;
    void *mapped = mmap(NULL, sizeof *self->outbox, PROT_READ | PROT_WRITE, MAP_SHARED, outbox, 0);
    if (mapped == MAP_FAILED)
        return PyErr_SetFromErrno(PyExc_OSError);
    self->outbox = mapped;
    Py_RETURN_NONE;
}

static bool map_xring(struct xring *ring, int fd, const struct xdp_ring_offset *offset, uint64_t page, size_t entry) {
    size_t size = offset->desc + XRING * entry;
    uint8_t *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, (off_t)page);
    if (at == MAP_FAILED)
        return false;
    ring->producer = (uint32_t *)(void *)(at + offset->producer);
    ring->consumer = (uint32_t *)(void *)(at + offset->consumer);
    ring->flags = (uint32_t *)(void *)(at + offset->flags);
    ring->descriptors = at + offset->desc;
    ring->mask = XRING - 1;
    return true;
}

static bool open_link(Engine *self, struct link *link, uint32_t interface, uint32_t number) {
    uint32_t room = XRING, budget = 256;
    int memory = XRING * 2 * FRAME;
    struct xdp_mmap_offsets offsets;
    socklen_t size = sizeof offsets;
    if (!self->links_count) {
        struct xdp_umem_reg umem = {.addr = (uint64_t)(uintptr_t)self->umem, .len = (uint64_t)FRAME * FRAMES,
                                    .chunk_size = FRAME};
        if (setsockopt(link->fd, SOL_XDP, XDP_UMEM_REG, &umem, sizeof umem))
            return false;
    }
    if (setsockopt(link->fd, SOL_XDP, XDP_UMEM_FILL_RING, &room, sizeof room) ||
        setsockopt(link->fd, SOL_XDP, XDP_UMEM_COMPLETION_RING, &room, sizeof room) ||
        setsockopt(link->fd, SOL_XDP, XDP_RX_RING, &room, sizeof room) ||
        setsockopt(link->fd, SOL_XDP, XDP_TX_RING, &room, sizeof room) ||
        getsockopt(link->fd, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &size))
        return false;
    setsockopt(link->fd, SOL_XDP, MAX_TX_BUDGET, &budget, sizeof budget); /* an older kernel is asked more often */
    setsockopt(link->fd, SOL_SOCKET, SO_SNDBUFFORCE, &memory, sizeof memory);
    if (!map_xring(&link->rx, link->fd, &offsets.rx, XDP_PGOFF_RX_RING, sizeof(struct xdp_desc)) ||
        !map_xring(&link->tx, link->fd, &offsets.tx, XDP_PGOFF_TX_RING, sizeof(struct xdp_desc)) ||
        !map_xring(&link->fill, link->fd, &offsets.fr, XDP_UMEM_PGOFF_FILL_RING, 8) ||
        !map_xring(&link->completion, link->fd, &offsets.cr, XDP_UMEM_PGOFF_COMPLETION_RING, 8))
        return false;
    struct sockaddr_xdp address = {.sxdp_family = AF_XDP, .sxdp_ifindex = interface, .sxdp_queue_id = number,
                                   .sxdp_flags = XDP_USE_NEED_WAKEUP};
    if (self->links_count) {
        address.sxdp_flags = XDP_SHARED_UMEM;
        address.sxdp_shared_umem_fd = (uint32_t)self->links[0]->fd;
    }
    return !bind(link->fd, (struct sockaddr *)&address, sizeof address);
}

static PyObject *engine_add_link(Engine *self, PyObject *arguments) {
    unsigned interface, number, mtu;
    if (!PyArg_ParseTuple(arguments, "III", &interface, &number, &mtu))
        return NULL;
    if (self->links_count == LINKS) {
        PyErr_SetString(PyExc_OSError, "too many interfaces");
        return NULL;
    }
    struct link *link = calloc(1, sizeof *link);
    if (!link)
        return PyErr_NoMemory();
    link->kind = SOURCE_LINK, link->interface = interface, link->mtu = mtu;
    link->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (link->fd < 0 || !open_link(self, link, interface, number) || watch(self, link->fd, link)) {
        PyErr_SetFromErrno(PyExc_OSError);
        if (link->fd >= 0)
            close(link->fd);
        free(link);
        return NULL;
    }
    self->links[self->links_count++] = link;
    refill(self, link);
    return PyLong_FromLong(link->fd);
}

static PyObject *engine_flush_routes(Engine *self, PyObject *nothing) {
    (void)nothing;
    if (self->routes)
        memset(self->routes, 0, ROUTES * sizeof *self->routes);
    Py_RETURN_NONE;
}

/* For tests: frames that are free, and those in the rings of each socket: fill, received, to be sent, sent. */
static PyObject *engine_frames(Engine *self, PyObject *nothing) {
    (void)nothing;
    PyObject *found = PyList_New(0), *free_frames = Py_BuildValue("(I)", self->frames_count);
    if (!found || !free_frames || PyList_Append(found, free_frames))
        return NULL;
    Py_DECREF(free_frames);
    for (unsigned number = 0; number < self->links_count; number++) {
        struct link *link = self->links[number];
        PyObject *counts = Py_BuildValue("IIII", link->fill.cached - *link->fill.consumer, *link->rx.producer - link->rx.cached,
                                         link->tx.cached - *link->tx.consumer,
                                         *link->completion.producer - link->completion.cached);
        if (!counts || PyList_Append(found, counts))
            return NULL;
        Py_DECREF(counts);
    }
    return found;
}

static PyObject *engine_unsendable(Engine *self, PyObject *nothing) {
    (void)nothing;
    return PyLong_FromUnsignedLongLong(self->unsendable);
}

static void close_all(Engine *self) {
    for (unsigned each = 0; each < self->links_count; each++) {
        close(self->links[each]->fd);
        free(self->links[each]);
    }
    while (self->queues_count) {
        struct queue *queue = self->queues[--self->queues_count];
        queue->filter = NULL;
        for (uint32_t number = queue->begin; number != queue->end; number++)
            if (queue->packets[number & queue->mask].state == UNDECIDED)
                queue->packets[number & queue->mask].state = TAKEN;
        close_queue(self, queue);
    }
    for (unsigned each = 0; each < self->rings_count; each++)
        forget_ring(self, self->rings[each]);
    for (unsigned each = 0; each < self->filters_count; each++) {
        free(self->filters[each]->allowed);
        free(self->filters[each]->later);
        free(self->filters[each]);
    }
    self->links_count = self->rings_count = self->filters_count = 0;
    if (self->epoll >= 0)
        close(self->epoll);
    self->epoll = -1;
}

static PyObject *engine_close(Engine *self, PyObject *nothing) {
    (void)nothing;
    close_all(self);
    Py_RETURN_NONE;
}

static void engine_dealloc(Engine *self) {
    close_all(self);
    free(self->buffers);
    free(self->frames);
    free(self->pool);
    free(self->routes);
    free(self->counted);
    if (self->counts)
        munmap(self->counts, COUNTED * sizeof *self->counts);
    if (self->outbox)
        munmap(self->outbox, sizeof *self->outbox);
    if (self->umem && self->umem != MAP_FAILED)
        munmap(self->umem, (size_t)FRAME * FRAMES);
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static int engine_init(Engine *self, PyObject *arguments, PyObject *keywords) {
    double deadline, coalesce;
    (void)keywords;
    self->flow_map = self->router = -1;
    prctl(PR_SET_TIMERSLACK, 1000); /* ns */
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!PyArg_ParseTuple(arguments, "ddIii", &deadline, &coalesce, &self->sequence, &self->raw4, &self->raw6))
        return -1;
    self->deadline_ns = (uint64_t)(deadline * 1e9);
    self->coalesce_ns = (uint64_t)(coalesce * 1e9);
    self->buffers = malloc((size_t)BATCH * READ_BYTES);
    if (self->epoll < 0 || !self->buffers) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

static PyMethodDef engine_methods[] = {
    {"add_ring", (PyCFunction)engine_add_ring, METH_VARARGS, "Use a ring: number, memory, descriptors."},
    {"remove_ring", (PyCFunction)engine_remove_ring, METH_O, "Forget a ring."},
    {"add_filter", (PyCFunction)engine_add_filter, METH_VARARGS, "Know a filter, or know it anew."},
    {"remove_filter", (PyCFunction)engine_remove_filter, METH_O, "Forget a filter."},
    {"add_queue", (PyCFunction)engine_add_queue, METH_VARARGS, "Read the queue of a filter."},
    {"remove_queue", (PyCFunction)engine_remove_queue, METH_O, "Empty the queue of a filter and close it."},
    {"start_xdp", (PyCFunction)engine_start_xdp, METH_VARARGS,
     "Get memory for AF_XDP: tables of flows and of what is counted, program for routes."},
    {"give_back_by", (PyCFunction)engine_give_back_by, METH_VARARGS,
     "Give packets back to the kernel, and do not forward them: program, outbox."},
    {"tell", (PyCFunction)engine_tell, METH_NOARGS, "Tell modules what was counted; whether there is more to tell."},
    {"tell_last", (PyCFunction)engine_tell_last, METH_O, "Tell the module of a filter all the rest."},
    {"counted", (PyCFunction)engine_counted, METH_O, "How many flows of a filter the kernel counts."},
    {"add_link", (PyCFunction)engine_add_link, METH_VARARGS, "Open a socket of AF_XDP: interface, queue, MTU."},
    {"flush_routes", (PyCFunction)engine_flush_routes, METH_NOARGS, "Ask the kernel for routes anew."},
    {"frames", (PyCFunction)engine_frames, METH_NOARGS, "Where the frames of AF_XDP are."},
    {"unsendable", (PyCFunction)engine_unsendable, METH_NOARGS, "Packets that the kernel did not take."},
    {"run", (PyCFunction)engine_run, METH_VARARGS, "Move packets until a descriptor is readable."},
    {"counters", (PyCFunction)engine_counters, METH_O, "Of a filter."},
    {"ring_counters", (PyCFunction)engine_ring_counters, METH_O, "Of a ring: foreign, rubbish, late, lent."},
    {"wants", (PyCFunction)engine_wants, METH_VARARGS, "Whether a packet belongs to a filter."},
    {"outgoing", (PyCFunction)engine_outgoing, METH_VARARGS, "A packet that may leave, or None."},
    {"close", (PyCFunction)engine_close, METH_NOARGS, "Let go on what waits, and close everything."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot engine_slots[] = {
    {Py_tp_doc, "Moves packets: deadline and coalescing in seconds, first sequence number, raw sockets."},
    {Py_tp_init, engine_init},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_dealloc, engine_dealloc},
    {Py_tp_methods, engine_methods},
    {0, NULL},
};

static PyType_Spec engine_spec = {"netserv.forwarding._packetpath.Engine", sizeof(Engine), 0, Py_TPFLAGS_DEFAULT,
                                  engine_slots};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_packetpath", "The packet broker's fast path.", -1, NULL,
                                        NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__packetpath(void) {
    PyObject *module = PyModule_Create(&definition), *engine = PyType_FromSpec(&engine_spec);
    if (!module || !engine || PyModule_AddObject(module, "Engine", engine) || PyModule_AddIntConstant(module, "FRAME", FRAME))
        return NULL;
    return module;
}
